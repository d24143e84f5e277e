//! `/me`: every cart with its story, and the form that cancels one.

use crate::answer::{self, see};
use crate::form::Form;
use crate::format::{count, time, won};
use crate::pages::pager::{Collection, Pager, asked};
use crate::pages::sign_in::barred;
use crate::pages::{Frame, Summary, WayBack, pager, trouble};
use crate::visit::Visit;
use crate::voucher;
use crate::words::{Words, fill};
use askama::Template;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use chassis::http::Id;
use futures_util::future::join_all;
use serde::Deserialize;

/// Carts on one page. The story of each is a request of its own.
const PAGE_SIZE: i64 = 12;

/// A cart, as mypage shows it. What no event has told yet is `None`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mypage {
    id: i64,
    cart_id: i64,
    name: Option<String>,
    quantity: Option<i64>,
    amount: Option<i64>,
    status: String,
    updated_at: String,
}

/// `_embedded` of the list.
#[derive(Debug, Deserialize)]
struct Mypages {
    mypages: Vec<Mypage>,
}

/// A step of a cart, as mypage shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct History {
    event_type: String,
    at: String,
}

/// A step of a cart.
struct Step {
    text: &'static str,
    at: String,
    datetime: String,
    sort: &'static str,
}

/// A cart with its story.
struct Row {
    id: i64,
    cart_id: i64,
    number: String,
    name: String,
    art: String,
    units: String,
    amount: String,
    /// The sort of its status, for colour and sign: `wait`, `good`, `bad` or `over`.
    sort: &'static str,
    status: &'static str,
    /// The status as the service has it.
    raw_status: String,
    announced: String,
    steps_name: String,
    steps: Vec<Step>,
    cancel_name: String,
    cancel_ask: String,
    can_cancel: bool,
    /// True for the cart that the visitor has just cancelled.
    is_cancelled: bool,
}

#[derive(Template)]
#[template(path = "me.html")]
struct MePage {
    frame: Frame,
    summary: Option<Summary>,
    rows: Vec<Row>,
    pager: Option<Pager>,
    is_first: bool,
}

#[derive(Template)]
#[template(path = "cart.html")]
struct CartPart {
    frame: Frame,
    row: Row,
}

/// Returns the sort and the text of a status.
fn status(t: &'static Words, status: &str) -> (&'static str, &'static str) {
    match status {
        "PaymentApproved" => ("good", t.status_approved),
        "CartRemoved" => ("wait", t.status_removed),
        "PaymentDeclined" => ("bad", t.status_declined),
        "PaymentCanceled" => ("over", t.status_cancelled),
        _ => ("wait", t.status_added),
    }
}

impl Step {
    fn new(visit: &Visit, step: &History) -> Option<Self> {
        let t = visit.words();
        let (sort, text) = match step.event_type.as_str() {
            "CartAdded" => ("wait", t.step_added),
            "PaymentApproved" => ("good", t.step_approved),
            "CartRemoved" => ("over", t.step_removed),
            "PaymentDeclined" => ("bad", t.step_declined),
            "PaymentCancelled" => ("over", t.step_cancelled),
            _ => return None,
        };
        Some(Self { text, at: time(&step.at, visit.lang), datetime: step.at.clone(), sort })
    }
}

impl Row {
    async fn new(visit: &Visit, cart: Mypage) -> Self {
        let history: Vec<History> =
            visit.client.get(&format!("/mypages/{}/history", cart.id)).await.unwrap_or_default();
        let t = visit.words();
        let mut steps: Vec<_> = history.iter().filter_map(|step| Step::new(visit, step)).collect();
        let (sort, status) = status(t, &cart.status);
        if steps.is_empty() {
            // The story could not be read. The status and its time are known.
            let at = time(&cart.updated_at, visit.lang);
            steps.push(Step { text: status, at, datetime: cart.updated_at, sort });
        }
        let name = cart.name.unwrap_or_else(|| t.unknown_name.to_owned());
        let number = count(cart.cart_id);
        let amount = cart.amount.map(|amount| won(amount, visit.lang));
        let cancel_ask = amount.as_ref().map(|amount| fill(t.cancel_ask, &[("amount", amount)]));
        let units = cart.quantity.map(|units| fill(t.units, &[("n", &count(units))]));
        let cancelled = visit.query.get(&["cancelled"]).and_then(|id| id.parse().ok());
        let is_cancelled = cancelled == Some(cart.cart_id);
        let can_cancel = matches!(cart.status.as_str(), "CartAdded" | "PaymentApproved");
        Self {
            id: cart.id,
            cart_id: cart.cart_id,
            art: voucher::draw(&name),
            units: units.unwrap_or_default(),
            sort,
            status,
            raw_status: cart.status,
            announced: fill(t.changed_to, &[("n", &number), ("status", status)]),
            steps_name: fill(t.steps_of, &[("n", &number)]),
            cancel_name: fill(t.cancel_named, &[("n", &number), ("name", &name)]),
            cancel_ask: cancel_ask.unwrap_or_else(|| t.cancel_ask_all.to_owned()),
            number: fill(t.cart_number, &[("n", &number)]),
            name,
            amount: amount.unwrap_or_default(),
            steps,
            can_cancel: can_cancel && !is_cancelled,
            is_cancelled,
        }
    }
}

/// Handles `GET /me`.
pub(crate) async fn page(visit: Visit) -> Response {
    let number = asked(&visit);
    show(&visit, number, None).await
}

/// Handles `GET /me/carts/{id}?page=N`: one cart of a page of the list, for a script whose cart has changed.
pub(crate) async fn cart(visit: Visit, Id(id): Id) -> Response {
    match visit.client.get::<Mypage>(&format!("/mypages/{id}")).await {
        Ok(cart) => {
            let row = Row::new(&visit, cart).await;
            let frame = Frame::new(&visit, "/me", visit.words().me_title, None);
            answer::page(StatusCode::OK, &visit, &CartPart { frame, row })
        }
        Err(refusal) => refusal.status.into_response(),
    }
}

/// Returns the page, after a form that was refused if there is one.
async fn show(visit: &Visit, number: i64, refused: Option<(StatusCode, Summary)>) -> Response {
    let back = WayBack::new("/me", number);
    if let Some(barred) = barred(visit, back, visit.visitor.may_buy()) {
        return barred;
    }
    let path = format!("/mypages?page={number}&size={PAGE_SIZE}&sort=id,desc");
    let list = match (visit.client.get::<Collection<Mypages>>(&path).await, &refused) {
        (Ok(list), _) => Some(list),
        (Err(refusal), None) => return trouble::unavailable(visit, back, &refusal),
        (Err(_), Some(_)) => None,
    };
    let pager = list.as_ref().and_then(|list| Pager::new(visit, "/me", &list.page));
    let carts = list.map(|list| list.embedded.mypages).unwrap_or_default();
    let rows = join_all(carts.into_iter().map(|cart| Row::new(visit, cart))).await;
    let (status, summary) = match refused {
        Some((status, summary)) => (status, Some(summary)),
        None => (StatusCode::OK, None),
    };
    let status = Pager::status(pager.as_ref(), status);
    let frame = Frame::new(visit, "/me", visit.words().me_title, Some("me.js")).on_page(number);
    answer::page(status, visit, &MePage { frame, summary, rows, pager, is_first: number == 0 })
}

/// Handles `POST /me/cancel`. A cart that is cancelled twice is cancelled.
pub(crate) async fn cancel(form: Form) -> Response {
    let (visit, t, number) = (&form.visit, form.visit.words(), form.page());
    if let Some(barred) = barred(visit, WayBack::new("/me", number), visit.visitor.may_buy()) {
        return barred;
    }
    let cart_id = form.number("cartId").unwrap_or(0);
    let cancelled =
        visit.client.send(Method::DELETE, &format!("/carts/{cart_id}"), &[], None).await;
    let Err(refusal) = cancelled else {
        let me = pager::link("/me", number, &format!("cancelled={cart_id}"));
        return see(visit, &format!("{me}#c-{cart_id}"));
    };
    let summary = |text: &'static str| Summary::new(t.cancel_failed, text);
    let summary = if refusal.status == StatusCode::NOT_FOUND {
        summary(t.cancel_gone).at(format!("#c-{cart_id}"))
    } else {
        let fields = vec![("cartId", cart_id.to_string()), ("page", number.to_string())];
        summary(t.cancel_busy).retry(visit.path("/me/cancel"), fields)
    };
    show(visit, number, Some((refusal.status, summary))).await
}
