//! `GET /md`: stock and prices, with the forms that change them.

use crate::answer;
use crate::format::{count, won};
use crate::pages::figures::Figures;
use crate::pages::pager::{Collection, Pager, asked};
use crate::pages::shop::{Gifticon, Gifticons};
use crate::pages::sign_in::barred;
use crate::pages::{Frame, Summary, trouble};
use crate::services::Refusal;
use crate::visit::Visit;
use crate::voucher;
use crate::words::{Words, fill};
use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Gifticons on one page. The `ETag` of each is a request of its own.
const PAGE_SIZE: i64 = 20;
/// Carts that are counted for what is sold and in payment. No service keeps these sums, and a page reads no table to its end.
const COUNTED_CARTS_MAX: i64 = 1_000;
/// Width of a bar.
const BAR_WIDTH: i64 = 1_000;

/// Units of a gifticon in live carts.
#[derive(Clone, Copy, Default)]
struct Units {
    sold: i64,
    held: i64,
}

/// A gifticon with its forms.
struct Row {
    id: i64,
    gifticon_id: i64,
    name: String,
    art: String,
    price_text: String,
    /// The price that the form showed first.
    price: i64,
    etag: String,
    sold_text: String,
    held_text: String,
    available_text: String,
    split: String,
    /// Widths of the parts of the bar.
    sold: i64,
    held: i64,
    available: i64,
    new_price: String,
    restock: String,
    save_name: String,
    price_error: Option<&'static str>,
    restock_error: Option<&'static str>,
    is_saved: bool,
}

/// What was typed into the form for a new gifticon, and what is wrong with it.
#[derive(Default)]
pub(super) struct NewForm {
    pub(super) number: String,
    pub(super) name: String,
    pub(super) stock: String,
    pub(super) price: String,
    pub(super) number_error: Option<String>,
    pub(super) name_error: Option<String>,
    pub(super) stock_error: Option<String>,
    pub(super) price_error: Option<String>,
}

/// What was typed into the form of a gifticon, and what is wrong with it.
pub(super) struct ChangeForm {
    pub(super) id: i64,
    pub(super) price: String,
    pub(super) restock: String,
    pub(super) price_error: Option<&'static str>,
    pub(super) restock_error: Option<&'static str>,
}

/// A form that was refused.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) summary: Option<Summary>,
    pub(super) new: NewForm,
    pub(super) change: Option<ChangeForm>,
}

/// A field of the form for a new gifticon.
struct Field {
    id: &'static str,
    name: &'static str,
    label: &'static str,
    value: String,
    error: Option<String>,
    mode: &'static str,
}

/// A number with its name.
struct Figure {
    name: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "md.html")]
struct MdPage {
    frame: Frame,
    summary: Option<Summary>,
    done: Option<&'static str>,
    figures: Vec<Figure>,
    fields: Vec<Field>,
    rows: Vec<Row>,
    basis: Option<String>,
    pager: Option<Pager>,
}

/// A live cart, as its service shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cart {
    gifticon_id: i64,
    quantity: i64,
    status: String,
}

/// `_embedded` of the list of carts.
#[derive(Debug, Deserialize)]
struct Carts {
    carts: Vec<Cart>,
}

/// Live carts, counted.
#[derive(Default)]
struct Counted {
    /// By the number of the gifticon.
    units: BTreeMap<i64, Units>,
    carts: i64,
    in_payment: usize,
    /// True if there are more than were counted.
    is_part: bool,
}

/// Handles `GET /md`.
pub(crate) async fn page(visit: Visit) -> Response {
    show(&visit, Refused::default()).await
}

/// Counts the newest live carts.
async fn counted(visit: &Visit) -> Counted {
    let path = format!("/carts?size={COUNTED_CARTS_MAX}&sort=id,desc");
    let Ok(list) = visit.client.get::<Collection<Carts>>(&path).await else {
        return Counted::default();
    };
    let mut counted = Counted {
        carts: list.page.total_elements,
        is_part: list.page.total_elements > COUNTED_CARTS_MAX,
        ..Counted::default()
    };
    for cart in list.embedded.carts {
        let units = counted.units.entry(cart.gifticon_id).or_default();
        if cart.status == "PaymentApproved" {
            units.sold += cart.quantity;
        } else {
            units.held += cart.quantity;
            counted.in_payment += 1;
        }
    }
    counted
}

/// Returns the gifticons of a page, each with its `ETag`.
async fn listed(
    visit: &Visit,
    number: i64,
) -> Result<(Vec<(Gifticon, String)>, Collection<Gifticons>), Refusal> {
    let path = format!("/gifticons?page={number}&size={PAGE_SIZE}&sort=id,desc");
    let list = visit.client.get::<Collection<Gifticons>>(&path).await?;
    let items = list.embedded.gifticons.iter().map(async |gifticon| {
        let path = format!("/gifticons/{}", gifticon.id);
        let (gifticon, etag) = visit.client.read::<Gifticon>(&path).await.ok()?;
        Some((gifticon, etag?))
    });
    let items = join_all(items).await.into_iter().flatten().collect(); // without those that were deleted meanwhile
    Ok((items, list))
}

/// Returns the page, after a form that was refused if there is one.
pub(super) async fn show(visit: &Visit, refused: Refused) -> Response {
    if let Some(barred) = barred(visit, "/md", visit.visitor.may_manage()) {
        return barred;
    }
    let (t, number) = (visit.words(), asked(visit));
    let (listed, counted, figures) = futures_util::join!(
        listed(visit, number),
        counted(visit),
        visit.client.get::<Figures>(Figures::PATH)
    );
    let (items, list) = match listed {
        Ok((items, list)) => (items, Some(list)),
        Err(_) if refused.summary.is_some() => (vec![], None),
        Err(refusal) => return trouble::unavailable(visit, "/md", &refusal),
    };
    let done = match visit.query.get(&["done"]) {
        Some("registered") => Some(t.md_registered),
        Some("changed") => Some(t.md_changed),
        Some("nothing") => Some(t.md_nothing),
        _ => None,
    };
    let mut new = refused.new;
    if new.number.is_empty() {
        let numbers = items.iter().map(|(gifticon, _)| gifticon.gifticon_id);
        new.number = (numbers.max().unwrap_or(0) + 1).to_string();
    }
    let on_sale = list.as_ref().map_or(0, |list| list.page.total_elements);
    let parked = figures.ok().and_then(|figures| figures.parked_events());
    let figure = |name, value: i64| Figure { name, value: count(value) };
    let page = MdPage {
        frame: Frame::new(visit, "/md", t.md_title, None),
        summary: refused.summary,
        done,
        figures: vec![
            figure(t.md_on_sale, on_sale),
            figure(t.md_carts, counted.carts),
            figure(t.md_in_payment, i64::try_from(counted.in_payment).unwrap_or(i64::MAX)),
            Figure { name: t.md_parked, value: parked.map_or(t.unknown.to_owned(), count) },
        ],
        fields: fields(t, new),
        rows: items
            .into_iter()
            .map(|(gifticon, etag)| row(visit, gifticon, etag, &counted, refused.change.as_ref()))
            .collect(),
        basis: counted.is_part.then(|| fill(t.md_basis, &[("n", &count(COUNTED_CARTS_MAX))])),
        pager: list.and_then(|list| Pager::new(visit, "/md", &list.page)),
    };
    answer::page(refused.status, visit, &page)
}

/// Returns the fields of the form for a new gifticon.
fn fields(t: &'static Words, new: NewForm) -> Vec<Field> {
    let field = |id, name, label, mode, value, error| Field { id, name, label, value, error, mode };
    vec![
        field("new-name", "name", t.md_name, "text", new.name, new.name_error),
        field("new-price", "price", t.md_price, "numeric", new.price, new.price_error),
        field("new-stock", "availableQuantity", t.md_stock, "numeric", new.stock, new.stock_error),
        field("new-number", "gifticonId", t.md_number, "numeric", new.number, new.number_error),
    ]
}

/// Returns the row of a gifticon, with what was typed into its form if that was refused.
fn row(
    visit: &Visit,
    gifticon: Gifticon,
    etag: String,
    counted: &Counted,
    change: Option<&ChangeForm>,
) -> Row {
    let t = visit.words();
    let units = counted.units.get(&gifticon.gifticon_id).copied().unwrap_or_default();
    let available = gifticon.available_quantity;
    let all = (units.sold + units.held + available).max(1);
    let width = |part: i64| part * BAR_WIDTH / all;
    let [sold_text, held_text, available_text] = [units.sold, units.held, available].map(count);
    let split = [("sold", &*sold_text), ("held", &*held_text), ("available", &*available_text)];
    let change = change.filter(|change| change.id == gifticon.id);
    let saved = visit.query.get(&["id"]).and_then(|id| id.parse().ok());
    Row {
        id: gifticon.id,
        gifticon_id: gifticon.gifticon_id,
        art: voucher::draw(&gifticon.name),
        price_text: won(gifticon.price, visit.lang),
        price: gifticon.price,
        etag,
        split: fill(t.md_split, &split),
        sold_text: fill(t.md_sold, &[("n", &sold_text)]),
        held_text: fill(t.md_held, &[("n", &held_text)]),
        available_text: fill(t.md_available, &[("n", &available_text)]),
        sold: width(units.sold),
        held: width(units.held),
        available: width(available),
        new_price: change.map_or_else(|| gifticon.price.to_string(), |change| change.price.clone()),
        restock: change.map(|change| change.restock.clone()).unwrap_or_default(),
        save_name: fill(t.md_save_named, &[("name", &gifticon.name)]),
        price_error: change.and_then(|change| change.price_error),
        restock_error: change.and_then(|change| change.restock_error),
        is_saved: saved == Some(gifticon.id) && change.is_none(),
        name: gifticon.name,
    }
}
