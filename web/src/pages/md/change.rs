//! `POST /md/gifticons/{id}`: restocks and reprices a gifticon.

use super::forms::{ChangeForm, Refused};
use super::list::show;
use crate::answer::see;
use crate::form::Form;
use crate::format::{count, won};
use crate::pages::shop::Gifticon;
use crate::pages::{Summary, pager};
use crate::services::Refusal;
use crate::visit::Visit;
use crate::words::fill;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use chassis::http::Id;
use serde_json::{Value, json};

/// Attempts to save while sales change the version.
const ATTEMPTS_MAX: usize = 5;
/// Won for one unit at most, as the service has it.
const PRICE_MAX: i64 = 1_000_000_000;

/// Handles the form of a gifticon.
pub(crate) async fn change(Id(id): Id, form: Form) -> Response {
    let (visit, t) = (&form.visit, form.visit.words());
    let (price, restock) = (form.number("price"), form.number("restock"));
    let mut typed = ChangeForm::of(&form, id);
    if price.is_none_or(|price| !(0..=PRICE_MAX).contains(&price)) {
        typed.price_error = Some(t.md_price_error);
    }
    if restock.is_none() && !typed.restock.is_empty() {
        typed.restock_error = Some(t.md_restock_error);
    }
    if typed.first_error().is_some() {
        return refuse(&form, typed, StatusCode::UNPROCESSABLE_ENTITY, None).await;
    }
    let mut body = json!({});
    if price != typed.seen_price {
        body["price"] = json!(price);
    }
    if let Some(units) = restock.filter(|units| *units != 0) {
        body["restock"] = json!(units);
    }
    if body == json!({}) {
        return done(&form, "nothing", id);
    }
    match save(visit, &mut typed, &body).await {
        Saved::Yes => done(&form, "changed", id),
        Saved::Conflict(now) => {
            let text = if typed.is_unsure { t.md_look } else { t.md_conflict };
            let (price, left) = (won(now.price, visit.lang), count(now.available_quantity));
            let text = fill(text, &[("name", &now.name), ("price", &price), ("n", &left)]);
            let summary = Summary::new(t.md_failed, text).at(format!("#price-{id}"));
            typed.is_unsure = false; // the page shows how it is now
            refuse(&form, typed, StatusCode::PRECONDITION_FAILED, Some(summary)).await
        }
        Saved::No(refusal) => {
            let summary = explain(&form, &mut typed, &refusal);
            refuse(&form, typed, refusal.status, summary).await
        }
    }
}

/// Returns the redirect to the page of the list that the form was on.
fn done(form: &Form, done: &str, id: i64) -> Response {
    let list = pager::link("/md", form.page(), &format!("done={done}&id={id}"));
    see(&form.visit, &format!("{list}#g-{id}"))
}

/// How an attempt to save ended.
enum Saved {
    Yes,
    /// Something else has changed what the form showed, or the form itself has, when it was sent before. This is how it is now.
    Conflict(Gifticon),
    No(Refusal),
}

/// Saves a change of what the form showed. Each sale makes a new version, which is no conflict: then it is tried with that
/// version. A name or a price that differs from the form's is a conflict, and so is any new version if the form may have been
/// saved before: a restock must not be done twice.
async fn save(visit: &Visit, form: &mut ChangeForm, body: &Value) -> Saved {
    let path = format!("/gifticons/{}", form.id);
    let mut etag = form.etag.clone();
    let mut last = None;
    for _ in 0..ATTEMPTS_MAX {
        let headers = [(header::IF_MATCH, &*etag)];
        match visit.client.send(Method::PATCH, &path, &headers, Some(body)).await {
            Ok(_) => return Saved::Yes,
            Err(refusal) if refusal.status == StatusCode::PRECONDITION_FAILED => {
                last = Some(refusal);
            }
            Err(refusal) => {
                if refusal.may_be_done() {
                    form.is_unsure = true;
                    form.etag = etag;
                }
                return Saved::No(refusal);
            }
        }
        match visit.client.read::<Gifticon>(&path).await {
            Ok((now, tag)) => {
                let seen = (&*form.seen_name, form.seen_price);
                if form.is_unsure || (&*now.name, Some(now.price)) != seen {
                    return Saved::Conflict(now);
                }
                etag = tag.unwrap_or_default();
            }
            Err(refusal) => return Saved::No(refusal),
        }
    }
    Saved::No(last.expect("each attempt was refused"))
}

/// Puts the refusal of the service at the field that it is about. Returns a summary if it is about none.
fn explain(form: &Form, typed: &mut ChangeForm, refusal: &Refusal) -> Option<Summary> {
    let t = form.visit.words();
    if refusal.slug == "invalid" {
        typed.price_error = refusal.field("price").map(|_| t.md_price_error);
        typed.restock_error = refusal.field("restock").map(|_| t.md_below);
    }
    if typed.first_error().is_some() {
        return None;
    }
    if refusal.slug == "no-such-gifticon" {
        typed.is_gone = true;
        return Some(Summary::new(t.md_failed, t.error_gone));
    }
    let mut fields = typed.fields();
    fields.push(("page", form.page().to_string()));
    let path = form.visit.path(&format!("/md/gifticons/{}", typed.id));
    let text = if typed.is_unsure { t.md_unsure } else { t.md_busy };
    Some(Summary::new(t.md_failed, text).retry(path, fields))
}

/// Shows the page with the form as it was typed.
async fn refuse(
    form: &Form,
    typed: ChangeForm,
    status: StatusCode,
    summary: Option<Summary>,
) -> Response {
    let failed = form.visit.words().md_failed;
    let of_field = || typed.first_error().map(|(field, text)| Summary::new(failed, text).at(field));
    let summary = summary.or_else(of_field);
    let refused = Refused { status, summary, change: Some(typed), ..Refused::default() };
    show(&form.visit, form.page(), refused).await
}
