//! Every example of the document is as its schema says, and whatever needs an example has one.

use crate::answers::Document;
use crate::common::files::text;
use crate::{built, operations};
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Schemas without an example: an operation has one of each request, and those of pages and links say nothing more.
const WITHOUT_EXAMPLE: [&str; 11] = [
    "AddCart",
    "CartPage",
    "ChangeGifticon",
    "GifticonPage",
    "Index",
    "Link",
    "Links",
    "MypagePage",
    "PageInfo",
    "PaymentPage",
    "RegisterGifticon",
];

#[test]
fn every_schema_of_an_item_has_an_example_that_it_describes() {
    let document = Document(built());
    let schemas = document.0["components"]["schemas"].as_object().unwrap();
    let mut without = vec![];
    for (name, schema) in schemas.iter().filter(|(name, _)| *name != "Problem") {
        match schema["examples"].as_array() {
            None => without.push(name.as_str()),
            Some(examples) => {
                for example in examples {
                    document.check(schema, example).unwrap_or_else(|why| panic!("{name}: {why}"));
                }
            }
        }
    }
    assert_eq!(without, WITHOUT_EXAMPLE);
}

/// The examples of a document.
struct Examples<'d> {
    document: &'d Value,
    /// Its components, in which no schema allows a member that it does not name: a member that is misspelt would pass as one
    /// that the schema leaves open.
    components: Value,
    /// Where examples are that were checked.
    checked: BTreeSet<String>,
    /// The names of those components that an example was taken from.
    used: BTreeSet<String>,
}

/// Makes schemas refuse the members that they do not name.
fn close(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".into(), false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

impl<'d> Examples<'d> {
    fn of(document: &'d Value) -> Self {
        let mut components = document["components"].clone();
        close(&mut components["schemas"]);
        Self { document, components, checked: BTreeSet::new(), used: BTreeSet::new() }
    }

    fn validator(&self, schema: &Value) -> Validator {
        let options = jsonschema::options().with_draft(Draft::Draft202012);
        let mut schema = schema.clone();
        close(&mut schema);
        let schema = json!({ "allOf": [schema], "components": self.components });
        options.should_validate_formats(true).build(&schema).unwrap()
    }

    fn check(&mut self, place: String, schema: &Value, example: &Value) {
        let checked = self.validator(schema).validate(example).map_err(|error| error.to_string());
        checked.unwrap_or_else(|why| panic!("{place}: {example}: {why}"));
        assert!(self.checked.insert(place));
    }

    /// Checks what is in `node` and below.
    fn walk(&mut self, place: &str, node: &'d Value) {
        let below = |name: &str| format!("{place}/{}", name.replace('/', "~1"));
        match node {
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    self.walk(&below(&number.to_string()), item);
                }
            }
            Value::Object(members) => {
                self.examples_of(place, node);
                for (name, member) in members {
                    if !["example", "examples"].contains(&name.as_str()) {
                        self.walk(&below(name), member);
                    }
                }
            }
            _ => {}
        }
    }

    /// Checks the examples that `node` itself has: a media type, a parameter or a header with a schema, or else a schema.
    fn examples_of(&mut self, place: &str, node: &'d Value) {
        if place == "/components" {
            return; // an example under a name is taken where it is referred to
        }
        match (node.get("schema"), node.get("example"), node.get("examples")) {
            (_, None, None) => {}
            (Some(schema), Some(example), None) => {
                self.check(format!("{place}/example"), schema, example);
                if let Some(events) = node.get("x-events") {
                    self.check_event(format!("{place}/example/data"), events, example);
                }
            }
            (Some(schema), None, Some(Value::Object(examples))) => {
                for (name, example) in examples {
                    let example = self.taken(example);
                    self.check(format!("{place}/examples/{name}"), schema, &example["value"]);
                }
            }
            (None, None, Some(Value::Array(examples))) => {
                for (number, example) in examples.iter().enumerate() {
                    self.check(format!("{place}/examples/{number}"), node, example);
                }
            }
            _ => panic!("{place} has an example that belongs to no schema"),
        }
    }

    /// Checks the data of an event of a stream.
    fn check_event(&mut self, place: String, events: &Value, text: &Value) {
        let field = |name: &str| {
            let mut lines = text.as_str().unwrap().lines();
            lines.find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"))
        };
        let data = serde_json::from_str(field("data: ")).unwrap();
        self.check(place, &events[field("event: ")], &data);
    }

    /// Returns the example that a reference leads to, or the example itself.
    fn taken(&mut self, example: &'d Value) -> &'d Value {
        let Some(reference) = example["$ref"].as_str() else { return example };
        self.used.extend(reference.rsplit('/').next().map(ToOwned::to_owned));
        self.document.pointer(&reference[1..]).unwrap()
    }
}

#[test]
fn every_example_is_as_its_schema_says() {
    let document: Value = serde_json::from_str(&text("docs/openapi.json")).unwrap();
    let mut examples = Examples::of(&document);
    examples.walk("", &document);
    let there = document["components"]["examples"].as_object().unwrap().keys();
    assert_eq!(examples.used, there.cloned().collect());
    for (kind, count) in [
        ("/requestBody/", 3),
        ("/parameters/", 7),
        ("/components/headers/", 4),
        ("/application~1problem+json/", 29),
    ] {
        let of_kind = examples.checked.iter().filter(|place| place.contains(kind)).count();
        assert!(of_kind >= count, "{of_kind} of {kind}: {:#?}", examples.checked);
    }
}

#[test]
fn every_request_body_and_problem_has_an_example() {
    let document: Value = serde_json::from_str(&text("docs/openapi.json")).unwrap();
    let resolved = |value: &'_ Value| match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap().clone(),
        None => value.clone(),
    };
    let (mut bodies, mut problems) = (0, 0);
    for (path, method, operation) in operations(&document) {
        for content in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            assert!(content.1.get("example").is_some(), "{method} {path} has no example");
            bodies += 1;
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolved(response);
            let Some(content) = response["content"].get("application/problem+json") else {
                // Only what is refused is a problem.
                let is_refusal = !["2", "3"].iter().any(|class| status.starts_with(class));
                assert!(!is_refusal, "{method} {path}: {status} is no problem");
                continue;
            };
            let examples = content["examples"].as_object().into_iter().flatten();
            let examples: Vec<Value> = examples.map(|(_, example)| resolved(example)).collect();
            assert!(!examples.is_empty(), "{method} {path}: {status} has no example");
            for example in examples {
                let of_example = example["value"]["status"].to_string();
                assert!(
                    of_example == *status || status == "default",
                    "{method} {path}: an example of {status} has the status {of_example}"
                );
            }
            problems += 1;
        }
    }
    assert!(bodies >= 3 && problems > 100, "{bodies} bodies, {problems} problems");
}
