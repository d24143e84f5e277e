//! The operations of the catalogue, for the OpenAPI document. Reservations are not among them: only cart makes them.

use crate::api::problems::{
    GIFTICON_EXISTS, GIFTICON_HELD, INSUFFICIENT_STOCK, UNKNOWN_GIFTICON, VERSION_NEEDED,
};
use crate::api::{ChangeRequest, GifticonView, RegisterRequest, surface};
use crate::store::GIFTICONS;
use axum::http::{Method, StatusCode};
use chassis::openapi::{Api, Operation};
use serde_json::json;

/// Returns the operations that customers and merchandisers may call.
pub fn openapi() -> Api {
    let register = Operation::new(Method::POST, "/gifticons", "registerGifticon", "Put a gifticon on sale")
        .body::<RegisterRequest>(
            &json!({ "gifticonId": 1, "name": "Americano", "availableQuantity": "100", "price": "5000" }),
        )
        .created::<GifticonView>(
            "It is on sale.",
            &["getGifticon", "changeGifticon", "deleteGifticon"],
        )
        .refuses(&[GIFTICON_EXISTS]);
    let change = Operation::new(Method::PATCH, "/gifticons/{id}", "changeGifticon", "Change a gifticon")
        .description(
            "Changes what is sent, and nothing else. The stock is changed by a difference (`restock`), or set \
             (`availableQuantity`) under `If-Match`. Neither loses a sale that happens at the same time.",
        )
        .if_match()
        .body::<ChangeRequest>(&json!({ "restock": 50 }))
        .item::<GifticonView>(StatusCode::OK, "It is changed.")
        .refuses(&[UNKNOWN_GIFTICON, VERSION_NEEDED]);
    let delete = Operation::new(
        Method::DELETE,
        "/gifticons/{id}",
        "deleteGifticon",
        "Take a gifticon off sale",
    )
    .if_match()
    .no_content("It is gone.")
    .refuses(&[UNKNOWN_GIFTICON, GIFTICON_HELD]);
    let left = json!({ "type": "integer", "minimum": 0, "description": "Units that are left, if they are too few." });
    Api::new("gifticons", "The catalogue and its stock.", surface().access)
        .listing::<GifticonView>(&GIFTICONS, UNKNOWN_GIFTICON)
        .operation(register)
        .operation(change)
        .operation(delete)
        .member(INSUFFICIENT_STOCK, "availableQuantity", left, &json!(3))
}
