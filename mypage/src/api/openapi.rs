//! The operations of the view, for the OpenAPI document.

use crate::api::documents::{MypageView, StepView};
use crate::api::{STREAMED_CARTS_MAX, UNKNOWN_MYPAGE, surface};
use crate::live::shown::Shown;
use crate::store::MYPAGES;
use axum::http::Method;
use chassis::base::problem::kind;
use chassis::openapi::{Api, Operation};
use serde_json::json;

/// Returns the operations that customers may call.
pub fn openapi() -> Api {
    let history = Operation::new(
        Method::GET,
        "/mypages/{id}/history",
        "getMypageHistory",
        "Every step of a cart, in order",
    );
    let history = history.list::<StepView>("The steps.").refuses(&[UNKNOWN_MYPAGE]);
    Api::new(
        "mypages",
        "The story of every cart, cancelled ones included, shortly after it happens.",
        surface().access,
    )
    .listing::<MypageView>(&MYPAGES, UNKNOWN_MYPAGE)
    .operation(history)
    .operation(stream_views())
    .operation(stream_events())
}

fn stream_views() -> Operation {
    let carts = json!({
        "type": "array", "maxItems": STREAMED_CARTS_MAX, "items": { "type": "integer", "format": "int64" },
    });
    let mut stream =
        Operation::new(Method::GET, "/mypages/stream", "streamMypages", "The pages that change")
            .description(
                "Begins with the newest 20, or with those of the carts that are asked for.",
            );
    let view = stream.streamed_item::<MypageView>();
    stream
        .query("cartId", "Only the pages of these carts.", &carts)
        .refuses(&[kind::TOO_MANY])
        .stream("41", "mypage", json!({ "mypage": view }))
}

fn stream_events() -> Operation {
    let mut stream =
        Operation::new(Method::GET, "/live/stream", "streamEvents", "What happens in the shop")
            .description("Begins with the newest 20 events and the newest stock. There is no personal data in them, and everybody gets the same.");
    let event = stream.schema::<Shown>();
    let sampled = json!({
        "type": "object", "description": "From now on one purchase in so many is shown.",
        "properties": { "oneIn": { "type": "integer", "minimum": 1 } }, "required": ["oneIn"],
    });
    let events = json!({ "event": event, "sampled": sampled });
    stream.refuses(&[kind::TOO_MANY]).stream("0:57", "event", events)
}
