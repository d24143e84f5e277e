//! Problems as responses. A response for each status has an example of each problem with that status.

use crate::base::problem::{Kind, kind};
use crate::openapi::api::capitalized;
use crate::openapi::operation::problem_content;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The responses of a document with problems, by name.
#[derive(Debug, Default)]
pub(super) struct Problems {
    responses: BTreeMap<String, Value>,
    kinds: BTreeMap<&'static str, Kind>,
}

impl Problems {
    /// Returns the responses with `kinds`, by status.
    pub(super) fn responses(&mut self, kinds: Vec<Kind>) -> Map<String, Value> {
        let mut by_status: BTreeMap<u16, BTreeMap<&'static str, Kind>> = BTreeMap::new();
        for kind in kinds {
            self.kinds.insert(kind.slug, kind);
            by_status.entry(kind.status.as_u16()).or_default().insert(kind.slug, kind);
        }
        let reference = |(status, kinds): (u16, BTreeMap<&'static str, Kind>)| {
            let name = kinds.keys().map(|slug| type_name(slug)).collect::<Vec<_>>().join("Or");
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            self.responses.entry(name).or_insert_with(|| response(&kinds));
            (status.to_string(), reference)
        };
        by_status.into_iter().map(reference).collect()
    }

    /// Returns the response for another method of a path, which belongs to no operation.
    pub(super) fn other_method(&mut self) {
        self.responses(vec![kind::METHOD]);
    }

    /// Returns the responses, the examples, and the schema of all problems that were named, with the `members` that some have.
    pub(super) fn components(self, members: &Map<String, Value>) -> (Value, Value, Value) {
        let types: Vec<String> = self.kinds.keys().map(|slug| type_uri(slug)).collect();
        let error = json!({
            "type": "object",
            "properties": { "field": { "type": "string" }, "message": { "type": "string" } },
            "required": ["field", "message"],
        });
        let mut properties = json!({
            "type": { "type": "string", "enum": types },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What a person can do about it, in the language of `Accept-Language`." },
            "instance": { "type": "string", "description": "The path of the request." },
            "traceId": { "type": "string", "description": "The trace of the request, as in the log." },
            "errors": { "type": "array", "items": error, "description": "The fields that are out of bounds, if any are." },
        });
        properties.as_object_mut().expect("it is an object").extend(members.clone());
        let schema = json!({
            "type": "object",
            "description": "A refusal (RFC 9457).",
            "properties": properties,
            "required": ["type", "title", "status", "detail"],
        });
        let examples =
            self.kinds.values().map(|kind| (kind.slug.to_owned(), example(*kind, members)));
        let examples = examples.collect();
        (self.responses.into_iter().collect(), examples, schema)
    }
}

/// Returns the response with one of `kinds`, which have the same status.
fn response(kinds: &BTreeMap<&'static str, Kind>) -> Value {
    let titles: Vec<String> =
        kinds.values().map(|kind| format!("{} (`{}`).", kind.en, kind.slug)).collect();
    let content = problem_content(kinds.keys().copied());
    let mut response = json!({
        "description": titles.join(" "), "content": { "application/problem+json": content },
    });
    let has = |status: u16| kinds.values().any(|kind| kind.status.as_u16() == status);
    if has(503) || has(429) {
        response["headers"] =
            json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
    }
    if has(401) || has(403) {
        let challenge = json!({ "$ref": "#/components/headers/WwwAuthenticate" });
        response["headers"] = json!({ "WWW-Authenticate": challenge });
    }
    if has(405) {
        response["headers"] = json!({ "Allow": { "$ref": "#/components/headers/Allow" } });
    }
    response
}

/// Returns an example of a problem. A member that belongs to it has `x-problem` with its slug.
fn example(problem: Kind, members: &Map<String, Value>) -> Value {
    let mut body = json!({
        "type": type_uri(problem.slug), "title": problem.en, "status": problem.status.as_u16(), "detail": problem.en,
    });
    if problem == kind::INVALID {
        body["errors"] = json!([{ "field": "quantity", "message": "lower than 1" }]);
    }
    for (member, schema) in members {
        if schema["x-problem"] == problem.slug {
            body[member] = schema["examples"][0].clone();
        }
    }
    json!({ "summary": format!("{} / {}", problem.en, problem.ko), "value": body })
}

fn type_uri(slug: &str) -> String {
    format!("/problems/{slug}")
}

/// Returns `NotFound` for `not-found`.
fn type_name(slug: &str) -> String {
    slug.split('-').map(capitalized).collect()
}
