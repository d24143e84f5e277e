//! `/live`: the picture of the shop at work. This renders how things stand; a script lets the events walk.

use crate::answer;
use crate::format::count;
use crate::pages::figures::Figures;
use crate::pages::pager::Collection;
use crate::pages::shop::{Gifticon, Gifticons};
use crate::pages::sign_in::barred;
use crate::pages::{Frame, WayBack};
use crate::visit::Visit;
use crate::visitor::Visitor;
use crate::words::{Words, fill};
use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

/// Gifticons whose stock is summed up, the newest ones. The page says so if there are more.
const SUMMED_MAX: i64 = 200;

/// A number with its name.
struct Number {
    key: &'static str,
    name: &'static str,
    value: String,
}

/// A box of the picture.
struct Node {
    key: &'static str,
    name: &'static str,
    role: &'static str,
    /// The role, or what waits.
    state: String,
    x: i64,
    y: i64,
    height: i64,
    is_down: bool,
}

#[derive(Template)]
#[template(path = "live.html")]
struct LivePage {
    frame: Frame,
    numbers: Vec<Number>,
    nodes: Vec<Node>,
    breaker: String,
    /// What is left of each gifticon, as JSON.
    stock: String,
    /// The name of each gifticon, as JSON.
    names: String,
}

/// Handles `GET /live`.
pub(crate) async fn page(visit: Visit) -> Response {
    if let Some(barred) =
        barred(&visit, WayBack::new("/live", 0), visit.visitor != Visitor::Stranger)
    {
        return barred;
    }
    let list = format!("/gifticons?size={SUMMED_MAX}&sort=id,desc");
    let (figures, list) = futures_util::join!(
        visit.client.get::<Figures>(Figures::PATH),
        visit.client.get::<Collection<Gifticons>>(&list)
    );
    let (t, figures) = (visit.words(), figures.unwrap_or_default());
    let is_part = list.as_ref().is_ok_and(|list| list.page.total_elements > SUMMED_MAX);
    let gifticons = list.map(|list| list.embedded.gifticons).ok();
    let by_id = |value: fn(&Gifticon) -> Value| {
        let pair = |gifticon: &Gifticon| (gifticon.gifticon_id.to_string(), value(gifticon));
        Value::Object(gifticons.iter().flatten().map(pair).collect()).to_string()
    };
    let stock = by_id(|gifticon| gifticon.available_quantity.into());
    let names = by_id(|gifticon| gifticon.name.clone().into());
    let left = gifticons.map(|all| all.iter().map(|gifticon| gifticon.available_quantity).sum());
    let stock_name = if is_part { t.live_stock_part } else { t.live_stock };
    let breaker = figures.services.iter().find_map(|service| service.breaker.clone());
    let breaker = breaker.unwrap_or_default();
    let page = LivePage {
        frame: Frame::new(&visit, "/live", t.live_title, Some("live.js")),
        numbers: numbers(t, &figures, &breaker, (stock_name, left)),
        nodes: nodes(t, &figures),
        breaker,
        stock,
        names,
    };
    answer::page(StatusCode::OK, &visit, &page)
}

/// Returns the numbers above the picture.
fn numbers(
    t: &'static Words,
    figures: &Figures,
    breaker: &str,
    (stock_name, left): (&'static str, Option<i64>),
) -> Vec<Number> {
    let known = |value: Option<String>| value.unwrap_or_else(|| t.unknown.to_owned());
    let (lag, age) = (figures.lag_events(), figures.outbox_age_seconds());
    let breaker = match breaker {
        "closed" => Some(t.breaker_closed),
        "halfOpen" => Some(t.breaker_half_open),
        "open" => Some(t.breaker_open),
        _ => None,
    };
    let number = |key, name, value| Number { key, name, value: known(value) };
    vec![
        number("carts", t.live_carts, figures.carts_per_second.map(|carts| format!("{carts:.1}"))),
        number("lag", t.live_lag, lag.map(|lag| format!("{lag:.0}"))),
        number(
            "outbox",
            t.live_outbox,
            age.map(|age| fill(t.live_seconds, &[("n", &format!("{age:.1}"))])),
        ),
        number("stock", stock_name, left.map(count)),
        number("breaker", t.live_breaker, breaker.map(ToOwned::to_owned)),
    ]
}

/// Returns the boxes of the picture.
fn nodes(t: &'static Words, figures: &Figures) -> Vec<Node> {
    let places = [
        ("gateway", t.node_gateway, t.role_gateway, 316, 10, 72),
        ("cart", t.node_cart, t.role_cart, 24, 154, 72),
        ("gifticon", t.node_gifticon, t.role_gifticon, 316, 154, 72),
        ("payment", t.node_payment, t.role_payment, 24, 450, 72),
        ("mypage", t.node_mypage, t.role_mypage, 316, 450, 72),
    ];
    let nodes = places.into_iter().map(|(key, name, role, x, y, height)| {
        let service = figures.services.iter().find(|service| service.service == key);
        let is_down = service.is_some_and(|service| !service.up);
        let unread = service.and_then(|service| service.lag_events).filter(|lag| *lag >= 1.0);
        let waiting = service.map_or(0, |service| service.outbox_events);
        let state = match (is_down, waiting, unread) {
            (true, _, _) => t.live_down.to_owned(),
            (_, 1.., _) => fill(t.live_waits, &[("n", &count(waiting))]),
            (_, _, Some(lag)) => fill(t.live_unread, &[("n", &format!("{lag:.0}"))]),
            _ => role.to_owned(),
        };
        Node { key, name, role, state, x, y, height, is_down }
    });
    nodes.collect()
}
