//! The document of the whole shop.

use crate::base::problem::Kind;
use crate::openapi::api::Api;
use crate::openapi::problems::Problems;
use crate::openapi::schemas::Schemas;
use serde_json::{Map, Value, json};

const ABOUT: &str = "Mobile gift vouchers: a catalogue, carts that hold stock, payments, and a page with the story of each cart.\n\n\
    JSON in the style of HAL. Whole numbers in requests are JSON numbers or strings of decimal digits, and unknown fields are \
    ignored. Refusals are problems (RFC 9457), in English or Korean. `HEAD` is `GET` without the body, `OPTIONS` answers `Allow`, \
    and any other method is 405 with `Allow`.";

/// Returns the document of `services`. Every operation may answer the problems `of_gateway` as well.
pub fn document(services: Vec<Api>, of_gateway: &[Kind]) -> Value {
    let (mut paths, mut tags) = (Map::new(), vec![]);
    let (mut schemas, mut problems) = (Schemas::default(), Problems::default());
    let mut members = Map::new();
    for Api { tag, about, operations, members: of_service, access } in services {
        tags.push(json!({ "name": tag, "description": about }));
        members.extend(of_service);
        for mut operation in operations {
            schemas.extend(std::mem::take(&mut operation.schemas));
            let who = access
                .iter()
                .find(|(method, path, _)| *method == operation.method && *path == operation.path);
            let (.., who) = who.expect("each route says who may use it");
            let operation = operation.refuses(of_gateway).restricted(*who);
            let (method, path) = (operation.method.as_str().to_lowercase(), operation.path.clone());
            let refusals = problems.responses(operation.kinds.clone());
            let path = paths.entry(path).or_insert_with(|| json!({}));
            assert!(path.get(&method).is_none(), "two operations are {method} of one path");
            path[&method] = operation.into_json(tag, refusals);
        }
    }
    problems.other_method();
    let (responses, examples, problem) = problems.components(&members);
    schemas.add("Problem", problem);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gifticon",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The gateway that this document comes from" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.into_json(),
            "responses": responses,
            "examples": examples,
            "parameters": parameters(),
            "headers": headers(),
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "A token of the issuer (`AUTH_ISSUER`). In open mode nobody needs one, and none is accepted.",
                },
            },
        },
    })
}

/// Returns the parameters that several operations have.
fn parameters() -> Value {
    let header = |name: &str, description: &str, example: &str| {
        json!({
            "name": name, "in": "header", "description": description,
            "schema": { "type": "string" }, "example": example,
        })
    };
    json!({
        "AcceptLanguage": header("Accept-Language", "Problems are in Korean where this prefers it, else in English.", "ko"),
        "IfMatch": header(
            "If-Match",
            "Changes it only if it has one of these entity tags, else 412. May be a list; `*` takes whatever is there.",
            "\"1\"",
        ),
        "IfNoneMatch": header("If-None-Match", "Answers 304 if it has one of these entity tags. May be a list.", "\"1\""),
    })
}

/// Returns the headers of responses.
fn headers() -> Value {
    json!({
        "ETag": {
            "description": "The entity tag of the item, for `If-Match` and `If-None-Match`.",
            "required": true, "schema": { "type": "string" }, "example": "\"1\"",
        },
        "Location": {
            "description": "The URL of what was made.",
            "required": true, "schema": { "type": "string", "format": "uri" },
        },
        "RetryAfter": {
            "description": "Seconds after which to try again.",
            "required": true, "schema": { "type": "integer", "minimum": 1 }, "example": 1,
        },
        "WwwAuthenticate": {
            "description": "What is wrong with the token (RFC 6750); just `Bearer` if there was none.",
            "required": true, "schema": { "type": "string" }, "example": "Bearer error=\"invalid_token\"",
        },
        "Allow": {
            "description": "The methods that the path has.",
            "required": true, "schema": { "type": "string" }, "example": "GET,HEAD,POST",
        },
    })
}
