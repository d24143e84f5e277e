//! `POST /shop/carts`: adds a gifticon to the cart.

use super::list::{Gifticon, IDEMPOTENCY_KEY, Refused, show};
use crate::answer::see;
use crate::form::{Form, new_key};
use crate::format::{count, won};
use crate::pages::sign_in::{Trouble, barred, trouble};
use crate::pages::{Summary, WayBack, pager};
use crate::services::{Client, Refusal};
use crate::words::fill;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::json;

/// Handles the form of a card: makes one cart, however often the form is sent.
pub(crate) async fn buy(form: Form) -> Response {
    let (visit, number) = (&form.visit, form.page());
    let back = WayBack::new("/shop", number);
    if let Some(barred) = barred(visit, back, visit.visitor.may_buy()) {
        return barred;
    }
    if form.is_of_another_account() {
        return trouble(visit, Trouble::Over, back); // somebody signed in or out in another tab
    }
    let gifticon_id = form.number("gifticonId").unwrap_or(0);
    let quantity =
        form.number("quantity").filter(|quantity| (1..=2_147_483_647).contains(quantity));
    let Some(quantity) = quantity else {
        let error = visit.words().error_quantity;
        let refused = Refused::new(&form, gifticon_id, StatusCode::UNPROCESSABLE_ENTITY, error);
        return show(visit, number, Some(refused.at_quantity())).await;
    };
    if let Some(refused) = changed_price(&form, gifticon_id).await {
        return show(visit, number, Some(refused)).await;
    }
    let key = form.key();
    let body = json!({ "gifticonId": gifticon_id, "quantity": quantity });
    let headers = [(IDEMPOTENCY_KEY, &*key)];
    match visit.client.send(Method::POST, "/carts", &headers, Some(&body)).await {
        Ok(answer) => {
            let cart_id = answer.body["id"].as_i64().unwrap_or_default();
            let shop = pager::link("/shop", number, &format!("bought={cart_id}"));
            see(visit, &format!("{shop}#g-{gifticon_id}"))
        }
        Err(refusal) => {
            let name = name_of(&visit.client, gifticon_id).await;
            show(visit, number, Some(Refused::of(&form, gifticon_id, &name, key, &refusal))).await
        }
    }
}

/// Returns what is wrong if the gifticon costs something else than the form showed. It may still change before the cart is
/// made; the cart then shows its price.
async fn changed_price(form: &Form, gifticon_id: i64) -> Option<Refused> {
    let (visit, seen) = (&form.visit, form.number("price")?);
    let now = find(&visit.client, gifticon_id).await.ok()?;
    if now.price == seen {
        return None;
    }
    let (old, new) = (won(seen, visit.lang), won(now.price, visit.lang));
    let values = [("name", &*now.name), ("old", &*old), ("new", &*new)];
    let text = fill(visit.words().error_price, &values);
    Some(Refused::new(form, gifticon_id, StatusCode::CONFLICT, text))
}

/// Returns the gifticon with this number.
pub(crate) async fn find(client: &Client, gifticon_id: i64) -> Result<Gifticon, Refusal> {
    client.get(&format!("/gifticons/search/findByGifticonId?gifticonId={gifticon_id}")).await
}

/// Returns the name of a gifticon, or its number if the name cannot be read now.
async fn name_of(client: &Client, gifticon_id: i64) -> String {
    let found = find(client, gifticon_id).await;
    found.map_or_else(|_| format!("#{gifticon_id}"), |gifticon| gifticon.name)
}

impl Refused {
    fn new(form: &Form, gifticon_id: i64, status: StatusCode, text: impl Into<String>) -> Self {
        let summary = Summary::new(form.visit.words().error_summary, text);
        Self {
            gifticon_id,
            quantity: form.text("quantity").to_owned(),
            key: new_key(),
            summary,
            error: None,
            status,
        }
    }

    /// Says at the quantity's field what is wrong.
    fn at_quantity(mut self) -> Self {
        self.error = Some(self.summary.text.clone());
        self.summary = self.summary.at(format!("#q-{}", self.gifticon_id));
        self
    }

    /// Returns the page's words for the refusal of a cart.
    fn of(form: &Form, gifticon_id: i64, name: &str, key: String, refusal: &Refusal) -> Self {
        let t = form.visit.words();
        let new = |text: String| Self::new(form, gifticon_id, refusal.status, text);
        match refusal.slug.as_str() {
            "not-enough-stock" => {
                let left = refusal.number("availableQuantity").unwrap_or(0);
                let count = count(left);
                let values = [("name", name), ("n", &*count)];
                if left == 0 {
                    let mut refused = new(fill(t.error_sold_out, &values));
                    refused.quantity = "1".into();
                    refused
                } else {
                    new(fill(t.error_few, &values)).at_quantity()
                }
            }
            "no-such-gifticon" => new(t.error_gone.into()),
            "invalid" => new(t.error_quantity.into()).at_quantity(),
            _ if refusal.is_passing() => {
                let mut refused = new(t.error_busy.into());
                refused.key.clone_from(&key); // it stands for nothing yet, or for the cart that was made
                let field = |name: &'static str| (name, form.text(name).to_owned());
                let fields = ["gifticonId", "quantity", "price", "page"].map(field);
                let account = ("account", form.visit.visitor.key().to_owned());
                let fields = fields.into_iter().chain([account, ("key", key)]).collect();
                refused.summary = refused.summary.retry(form.visit.path("/shop/carts"), fields);
                refused
            }
            _ => new(t.error_again.into()),
        }
    }
}
