//! `POST /md/gifticons/{id}`: restocks and reprices a gifticon.

use super::list::{ChangeForm, Refused, show};
use crate::answer::see;
use crate::form::Form;
use crate::format::won;
use crate::pages::Summary;
use crate::pages::shop::Gifticon;
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
    let mut typed = ChangeForm {
        id,
        price: form.text("price").to_owned(),
        restock: form.text("restock").to_owned(),
        price_error: None,
        restock_error: None,
    };
    if price.is_none_or(|price| !(0..=PRICE_MAX).contains(&price)) {
        typed.price_error = Some(t.md_price_error);
    }
    if restock.is_none() && !typed.restock.is_empty() {
        typed.restock_error = Some(t.md_restock_error);
    }
    if typed.first_error().is_some() {
        return refuse(visit, typed, StatusCode::UNPROCESSABLE_ENTITY, None).await;
    }
    let seen = form.number("seenPrice");
    let mut body = json!({});
    if price != seen {
        body["price"] = json!(price);
    }
    if let Some(units) = restock.filter(|units| *units != 0) {
        body["restock"] = json!(units);
    }
    if body == json!({}) {
        return see(visit, &format!("/md?done=nothing&id={id}#g-{id}"));
    }
    match save(visit, id, &body, form.text("etag"), (form.text("seenName"), seen)).await {
        Saved::Yes => see(visit, &format!("/md?done=changed&id={id}#g-{id}")),
        Saved::Conflict(now) => {
            let price = won(now.price, visit.lang);
            let text = fill(t.md_conflict, &[("name", &now.name), ("price", &price)]);
            let summary = Summary::new(t.md_failed, text).at(format!("#price-{id}"));
            refuse(visit, typed, StatusCode::PRECONDITION_FAILED, Some(summary)).await
        }
        Saved::No(refusal) => {
            let summary = explain(visit, &mut typed, &refusal);
            refuse(visit, typed, refusal.status, summary).await
        }
    }
}

/// How an attempt to save ended.
enum Saved {
    Yes,
    /// Somebody changed what the form showed. This is how it is now.
    Conflict(Gifticon),
    No(Refusal),
}

/// Saves a change of what the form showed. Each sale makes a new version, which is no conflict: then it is tried with that
/// version. A name or a price that differs from the form's is a conflict.
async fn save(
    visit: &Visit,
    id: i64,
    body: &Value,
    etag: &str,
    seen: (&str, Option<i64>),
) -> Saved {
    let mut etag = etag.to_owned();
    let path = format!("/gifticons/{id}");
    let mut last = None;
    for _ in 0..ATTEMPTS_MAX {
        let headers = [(header::IF_MATCH, &*etag)];
        match visit.client.send(Method::PATCH, &path, &headers, Some(body)).await {
            Ok(_) => return Saved::Yes,
            Err(refusal) if refusal.status == StatusCode::PRECONDITION_FAILED => {
                last = Some(refusal);
            }
            Err(refusal) => return Saved::No(refusal),
        }
        match visit.client.read::<Gifticon>(&path).await {
            Ok((now, _)) if (&*now.name, Some(now.price)) != seen => return Saved::Conflict(now),
            Ok((_, now)) => etag = now.unwrap_or_default(),
            Err(refusal) => return Saved::No(refusal),
        }
    }
    Saved::No(last.expect("each attempt was refused"))
}

/// Puts the refusal of the service at the field that it is about. Returns a summary if it is about none.
fn explain(visit: &Visit, typed: &mut ChangeForm, refusal: &Refusal) -> Option<Summary> {
    let t = visit.words();
    if refusal.slug == "invalid" {
        typed.price_error = refusal.field("price").map(|_| t.md_price_error);
        typed.restock_error = refusal.field("restock").map(|_| t.md_below);
    }
    if typed.first_error().is_some() {
        return None;
    }
    let text = if refusal.slug == "no-such-gifticon" { t.error_gone } else { t.md_busy };
    Some(Summary::new(t.md_failed, text))
}

impl ChangeForm {
    /// Returns the first field that is wrong, with what is wrong.
    fn first_error(&self) -> Option<(String, &'static str)> {
        let price = self.price_error.map(|error| (format!("#price-{}", self.id), error));
        price.or_else(|| Some((format!("#restock-{}", self.id), self.restock_error?)))
    }
}

/// Shows the page with the form as it was typed.
async fn refuse(
    visit: &Visit,
    typed: ChangeForm,
    status: StatusCode,
    summary: Option<Summary>,
) -> Response {
    let failed = visit.words().md_failed;
    let of_field = || typed.first_error().map(|(field, text)| Summary::new(failed, text).at(field));
    let summary = summary.or_else(of_field);
    show(visit, Refused { status, summary, change: Some(typed), ..Refused::default() }).await
}
