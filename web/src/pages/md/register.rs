//! `POST /md/gifticons`: puts a gifticon on sale.

use super::forms::{NewForm, Refused, UNSURE};
use super::list::show;
use crate::answer::see;
use crate::form::Form;
use crate::format::count;
use crate::pages::Summary;
use crate::pages::shop::find;
use crate::services::Refusal;
use crate::words::fill;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::json;

/// Handles the form for a new gifticon.
pub(crate) async fn register(form: Form) -> Response {
    let (visit, t) = (&form.visit, form.visit.words());
    let mut new = NewForm::of(&form);
    let (number, stock, price) =
        (form.number("gifticonId"), form.number("availableQuantity"), form.number("price"));
    let wrong = |is_wrong: bool, text: &'static str| is_wrong.then(|| text.to_owned());
    new.number_error = wrong(number.is_none_or(|number| number < 1), t.md_number_error);
    new.name_error = wrong(new.name.is_empty(), t.md_name_error);
    new.stock_error = wrong(stock.is_none_or(|stock| stock < 0), t.md_stock_error);
    new.price_error = wrong(price.is_none_or(|price| price < 0), t.md_price_error);
    if new.first_error().is_some() {
        return refuse(&form, new, StatusCode::UNPROCESSABLE_ENTITY, None).await;
    }
    let body = json!({
        "gifticonId": number, "name": new.name, "availableQuantity": stock, "price": price,
    });
    let registered = match visit.client.send(Method::POST, "/gifticons", &[], Some(&body)).await {
        Ok(answer) => Ok(answer.body["id"].as_i64().unwrap_or_default()),
        Err(refusal) => registered_before(&form, &refusal).await.ok_or(refusal),
    };
    match registered {
        Ok(id) => see(visit, &format!("/md?done=registered&id={id}#g-{id}")),
        Err(refusal) => {
            let summary = explain(&form, &mut new, &refusal);
            refuse(&form, new, refusal.status, summary).await
        }
    }
}

/// Returns the id of the gifticon if this form has put it on sale before, when no answer came.
async fn registered_before(form: &Form, refusal: &Refusal) -> Option<i64> {
    if form.text(UNSURE).is_empty() || refusal.slug != "gifticon-exists" {
        return None;
    }
    let gifticon = find(&form.visit.client, form.number("gifticonId")?).await.ok()?;
    let typed = (form.text("name"), form.number("price"));
    ((&*gifticon.name, Some(gifticon.price)) == typed).then_some(gifticon.id)
}

/// Puts the refusal of the service at the field that it is about. Returns a summary if it is about none.
fn explain(form: &Form, new: &mut NewForm, refusal: &Refusal) -> Option<Summary> {
    let t = form.visit.words();
    match refusal.slug.as_str() {
        "gifticon-exists" => {
            let number = count(form.number("gifticonId").unwrap_or_default());
            new.number_error = Some(fill(t.md_exists, &[("n", &number)]));
        }
        "invalid" => {
            new.number_error = refusal.field("gifticonId").map(|_| t.md_number_error.into());
            new.name_error =
                refusal.field("name").map(|error| format!("{} ({error})", t.md_name_error));
            new.stock_error = refusal.field("availableQuantity").map(|_| t.md_stock_error.into());
            new.price_error = refusal.field("price").map(|_| t.md_price_error.into());
        }
        _ => {}
    }
    if new.first_error().is_some() {
        return None;
    }
    let mut fields = new.fields();
    let is_unsure = refusal.may_be_done() || !form.text(UNSURE).is_empty();
    if is_unsure {
        fields.push((UNSURE, "1".to_owned()));
    }
    let text = if is_unsure { t.md_unsure } else { t.md_busy };
    Some(Summary::new(t.md_failed, text).retry(form.visit.path("/md/gifticons"), fields))
}

/// Shows the page with the form as it was typed.
async fn refuse(
    form: &Form,
    new: NewForm,
    status: StatusCode,
    summary: Option<Summary>,
) -> Response {
    let failed = form.visit.words().md_failed;
    let of_field = || new.first_error().map(|(field, text)| Summary::new(failed, text).at(field));
    let summary = summary.or_else(of_field);
    show(&form.visit, 0, Refused { status, summary, new, change: None }).await
}
