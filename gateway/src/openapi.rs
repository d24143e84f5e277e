//! The operations of the gateway itself, for the OpenAPI document: the figures and the pages.

use crate::services::FIGURES_PATH;
use axum::http::Method;
use chassis::http::{Access, RouteAccess};
use chassis::openapi::{Api, Operation};
use serde_json::{Value, json};

/// The pages are for everybody: each shows what the visitor may see.
const PAGES: &[RouteAccess] = &[
    (Method::GET, "/shop", Access::Public),
    (Method::GET, "/me", Access::Public),
    (Method::GET, "/md", Access::Public),
    (Method::GET, "/live", Access::Public),
];
const FIGURES: &[RouteAccess] = &[(Method::GET, FIGURES_PATH, Access::Reader)];

/// Returns the operations that the gateway serves itself.
pub fn openapi() -> [Api; 2] {
    let figures =
        Operation::new(Method::GET, FIGURES_PATH, "getFigures", "How the services are, now")
            .description("Everybody gets the same.");
    let figures = figures.json("The figures.", "Figures", figures_schema());
    let live = Api::new("live", "The shop at work.", FIGURES).operation(figures);
    let about = "Pages for people: HTML, in Korean or English. `lang=ko` or `lang=en` chooses one and remembers it.";
    let mut pages = Api::new("pages", about, PAGES);
    for (path, id, summary) in [
        ("/shop", "showShop", "What is on sale, with a form for each"),
        ("/me", "showMe", "Every cart with its story"),
        ("/md", "showMd", "Stock and prices, with the forms that change them"),
        ("/live", "showLive", "The picture of the shop at work"),
    ] {
        pages = pages.operation(Operation::new(Method::GET, path, id, summary).page());
    }
    [live, pages]
}

/// Returns the schema of the figures, which the services tell as JSON.
fn figures_schema() -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    let seconds = json!({ "type": "number", "minimum": 0 });
    let service = json!({
        "type": "object",
        "description": "One service. Without an answer of it, there is nothing but its name.",
        "properties": {
            "service": { "type": "string" },
            "up": { "type": "boolean", "description": "It answered in time." },
            "outboxEvents": count,
            "outboxAgeSeconds": seconds,
            "lagEvents": { "type": ["number", "null"], "description": "Null while it is not known." },
            "parkedEvents": count,
            "breaker": { "type": "string", "enum": ["closed", "halfOpen", "open"], "description": "Of cart." },
            "soldOut": {
                "type": "integer", "minimum": 0,
                "description": "Of cart: those refused since not enough were left, since it began.",
            },
        },
        "required": ["service", "up"],
    });
    let running = |name: &str| {
        json!({
            "service": name, "up": true, "outboxEvents": 0, "outboxAgeSeconds": 0.0, "lagEvents": 0.0, "parkedEvents": 0,
        })
    };
    let mut cart = running("cart");
    cart["breaker"] = "closed".into();
    cart["soldOut"] = 3.into();
    let down = json!({ "service": "payment", "up": false });
    json!({
        "type": "object",
        "description": "How the services are. The gateway asks them once a second at most.",
        "properties": {
            "cartsPerSecond": { "type": ["number", "null"], "description": "Null while it is not known." },
            "services": { "type": "array", "items": service },
        },
        "required": ["cartsPerSecond", "services"],
        "examples": [{
            "cartsPerSecond": 12.0, "services": [running("gifticon"), cart, down, running("mypage")],
        }],
    })
}
