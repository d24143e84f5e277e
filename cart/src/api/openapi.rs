//! The operations of carts, for the OpenAPI document.

use crate::api::{
    AddRequest, CartView, INSUFFICIENT_STOCK, KEY_REUSED, STOCK_UNAVAILABLE, UNKNOWN_CART,
    UNKNOWN_GIFTICON, surface,
};
use crate::store::CARTS;
use axum::http::Method;
use chassis::openapi::{Api, Operation};
use serde_json::json;

/// Returns the operations that customers may call.
pub fn openapi() -> Api {
    let key = json!({
        "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$",
    });
    let add = Operation::new(Method::POST, "/carts", "addCart", "Add a cart, which holds stock")
        .description(
            "With 503 nothing stays reserved: try again after `Retry-After`, with the same `Idempotency-Key`.",
        )
        .header(
            "Idempotency-Key",
            "1 to 255 visible ASCII characters. The same key and body get the same answer, for a day in which the shop runs. \
             Another body under the same key is 422.",
            &key,
        )
        .body::<AddRequest>(&json!({ "gifticonId": 1, "quantity": "10" }))
        .created::<CartView>("It holds the stock.", &["getCart", "cancelCart"])
        .refuses(&[UNKNOWN_GIFTICON, INSUFFICIENT_STOCK, STOCK_UNAVAILABLE, KEY_REUSED]);
    let cancel = Operation::new(Method::DELETE, "/carts/{id}", "cancelCart", "Cancel a cart")
        .description("Its payment is cancelled and its stock returned shortly after.")
        .if_match()
        .no_content("It is cancelled.")
        .refuses(&[UNKNOWN_CART]);
    Api::new(
        "carts",
        "Live carts. A cancelled one is gone from here; its story stays in mypages.",
        surface().access,
    )
    .listing::<CartView>(&CARTS, UNKNOWN_CART)
    .operation(add)
    .operation(cancel)
}
