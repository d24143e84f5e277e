//! `GET /md`: stock and prices, with the forms that change them.

use super::carts::{COUNTED_CARTS_MAX, Counted};
use super::forms::{ChangeForm, NewForm, Refused};
use super::row::Row;
use crate::answer;
use crate::format::count;
use crate::pages::figures::Figures;
use crate::pages::pager::{Collection, Pager, asked};
use crate::pages::shop::{Gifticon, Gifticons};
use crate::pages::sign_in::barred;
use crate::pages::{Frame, Summary, WayBack, trouble};
use crate::services::Refusal;
use crate::visit::Visit;
use crate::words::{Words, fill};
use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;

/// Gifticons on one page. The `ETag` of each is a request of its own.
const PAGE_SIZE: i64 = 20;

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
    /// What is to be said in place of rows that are not there.
    missing: Option<&'static str>,
    pager: Option<Pager>,
}

/// The gifticons of a page.
struct Listed {
    list: Collection<Gifticons>,
    /// Each with its `ETag`.
    items: Vec<(Gifticon, String)>,
    /// False if some could not be read.
    is_whole: bool,
}

/// Handles `GET /md`.
pub(crate) async fn page(visit: Visit) -> Response {
    show(&visit, asked(&visit), Refused::default()).await
}

impl Listed {
    async fn of(visit: &Visit, number: i64) -> Result<Self, Refusal> {
        let path = format!("/gifticons?page={number}&size={PAGE_SIZE}&sort=id,desc");
        let list = visit.client.get::<Collection<Gifticons>>(&path).await?;
        let reads = list.embedded.gifticons.iter().map(async |gifticon| {
            visit.client.read::<Gifticon>(&format!("/gifticons/{}", gifticon.id)).await
        });
        let (mut items, mut is_whole) = (Vec::new(), true);
        for read in join_all(reads).await {
            match read {
                Ok((gifticon, etag)) => items.push((gifticon, etag.unwrap_or_default())),
                Err(refusal) if refusal.status == StatusCode::NOT_FOUND => {} // deleted meanwhile
                Err(_) => is_whole = false,
            }
        }
        Ok(Self { list, items, is_whole })
    }
}

/// Returns a page of the list, after a form that was refused if there is one.
pub(super) async fn show(visit: &Visit, number: i64, refused: Refused) -> Response {
    let back = WayBack::new("/md", number);
    if let Some(barred) = barred(visit, back, visit.visitor.may_manage()) {
        return barred;
    }
    let t = visit.words();
    let (listed, counted, figures) = futures_util::join!(
        Listed::of(visit, number),
        Counted::of(visit),
        visit.client.get::<Figures>(Figures::PATH)
    );
    let listed = match listed {
        Ok(listed) => Some(listed),
        Err(_) if refused.summary.is_some() => None, // the summary says what to do
        Err(refusal) => return trouble::unavailable(visit, back, &refusal),
    };
    let done = match visit.query.get(&["done"]) {
        Some("registered") => Some(t.md_registered),
        Some("changed") => Some(t.md_changed),
        Some("nothing") => Some(t.md_nothing),
        _ => None,
    };
    let on_sale = listed.as_ref().map(|listed| listed.list.page.total_elements);
    let is_whole = listed.as_ref().is_some_and(|listed| listed.is_whole);
    let mut new = refused.new;
    if new.number.is_empty()
        && let Some(listed) = &listed
    {
        let numbers = listed.items.iter().map(|(gifticon, _)| gifticon.gifticon_id);
        new.number = (numbers.max().unwrap_or(0) + 1).to_string();
    }
    let parked = figures.ok().and_then(|figures| figures.parked_events());
    let figure = |name, value: Option<i64>| Figure {
        name,
        value: value.map_or_else(|| t.unknown.to_owned(), count),
    };
    let pager = listed.as_ref().and_then(|listed| Pager::new(visit, "/md", &listed.list.page));
    let status = Pager::status(pager.as_ref(), refused.status);
    let is_part = counted.as_ref().is_some_and(|counted| counted.is_part);
    let page = MdPage {
        frame: Frame::new(visit, "/md", t.md_title, None).on_page(number),
        summary: refused.summary,
        done,
        figures: vec![
            figure(t.md_on_sale, on_sale),
            figure(t.md_carts, counted.as_ref().map(|counted| counted.carts)),
            figure(t.md_in_payment, counted.as_ref().map(|counted| counted.in_payment)),
            figure(t.md_parked, parked),
        ],
        fields: fields(t, new),
        pager,
        rows: rows(visit, listed, counted.as_ref(), refused.change.as_ref()),
        basis: is_part.then(|| fill(t.md_basis, &[("n", &count(COUNTED_CARTS_MAX))])),
        missing: match on_sale {
            Some(0) => Some(t.md_empty),
            _ if is_whole => None,
            _ => Some(t.md_unread),
        },
    };
    answer::page(status, visit, &page)
}

/// Returns the rows. What was typed into the form of a gifticon that is not among them has a row, too.
fn rows(
    visit: &Visit,
    listed: Option<Listed>,
    counted: Option<&Counted>,
    change: Option<&ChangeForm>,
) -> Vec<Row> {
    let items = listed.map(|listed| listed.items).unwrap_or_default();
    let is_listed = |change: &&ChangeForm| items.iter().any(|(one, _)| one.id == change.id);
    let unread = change.filter(|change| !change.is_gone && !is_listed(change));
    let unread = unread.map(|change| Row::unread(visit, change));
    let rows = items.into_iter().map(|item| {
        let units = counted.map(|counted| counted.units(item.0.gifticon_id));
        Row::new(visit, item, units, change)
    });
    unread.into_iter().chain(rows).collect()
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
