//! The JSON Schemas in `docs/events`, made from the types of the events. Compiled for tests only, so that no released program
//! carries them.
//!
//! Each type has two: what the services publish, and what their readers accept. Readers accept more: events of the original,
//! numbers as strings, fields that are absent.

use crate::{Envelope, Event, number, status};
use jsonschema::{Draft, Validator};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Whole numbers as strings, as [`number::parse`] reads them.
const DECIMAL: &str = "^-?[0-9]+$";

/// A UUID. Readers also take other spellings of it, which nobody writes. Draft 7 does not know the format `uuid`.
const UUID: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";

/// The least and the largest value of each number that is published.
const RANGES: [(&str, i64, Option<i64>); 7] = [
    ("id", 1, None),
    ("cartId", 1, None),
    ("gifticonId", 1, Some(number::GIFTICON_ID_MAX)),
    ("quantity", 1, Some(number::UNITS_MAX)),
    ("availableQuantity", 0, Some(number::UNITS_MAX)),
    ("price", 0, None),
    ("amount", 0, None),
];

/// Returns the `status` that an event type is published with, if it has one.
fn published_status(event_type: &str) -> &'static str {
    match event_type {
        "CartAdded" => status::CART_ADDED,
        "CartRemoved" => status::CART_REMOVED,
        "PaymentApproved" => status::PAYMENT_APPROVED,
        "PaymentDeclined" => status::PAYMENT_DECLINED,
        "PaymentCancelled" => status::PAYMENT_CANCELED,
        other => panic!("say which status {other} is published with"),
    }
}

/// Returns settings of the draft that the tools of AsyncAPI read without a plugin, with no references.
fn settings() -> SchemaSettings {
    SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true)
}

/// Returns the schemas of the fields, without what is about Rust.
fn properties(schema: &Value) -> Map<String, Value> {
    let mut fields = schema["properties"].as_object().expect("an event has fields").clone();
    for field in fields.values_mut() {
        let field = field.as_object_mut().expect("a field has a schema");
        field.remove("default");
        if field.get("format").is_some_and(|format| format == "uuid") {
            field.insert("pattern".into(), json!(UUID));
        }
        if let Some(Value::String(about)) = field.get_mut("description") {
            *about = about.replace('\n', " ");
        }
    }
    fields
}

fn is_number(field: &Value) -> bool {
    field["type"] == "integer" || field["type"] == json!(["integer", "null"])
}

/// Returns the schema of an event type with these fields.
fn object(event_type: &str, about: &str, fields: &Map<String, Value>, required: &[&str]) -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": event_type,
        "description": about,
        "type": "object",
        "properties": fields,
        "required": required,
    })
}

/// Returns the schema of what the services publish: each field is there, and none is null.
fn published(event_type: &str, about: &str, schema: &Value) -> Value {
    let mut fields = properties(schema);
    for (name, field) in &mut fields {
        let is_number = is_number(field);
        let field = field.as_object_mut().expect("a field has a schema");
        if let Some(Value::Array(types)) = field.get("type") {
            field.insert("type".into(), types[0].clone());
        }
        if is_number {
            let range = RANGES.iter().find(|(of, ..)| of == name);
            let (_, least, most) = range.unwrap_or_else(|| panic!("{name} has no range"));
            field.insert("minimum".into(), json!(least));
            most.map(|most| field.insert("maximum".into(), json!(most)));
        }
        if name == "status" {
            *field = Map::from_iter([("const".into(), json!(published_status(event_type)))]);
        }
    }
    let head = json!({
        "eventType": { "const": event_type },
        "timestamp": {
            "type": "string", "pattern": "^[0-9]{14}$", "description": "`occurredAt` in UTC as yyyyMMddHHmmss, for readers of the original.",
        },
        "eventId": { "type": "string", "format": "uuid", "pattern": UUID, "description": "The same each time that the event is sent." },
        "occurredAt": { "type": "string", "format": "date-time", "description": "When the event happened, to the millisecond." },
    });
    fields.extend(head.as_object().expect("an object").clone());
    let required: Vec<String> = fields.keys().cloned().collect();
    let required: Vec<&str> = required.iter().map(String::as_str).collect();
    let about = format!(
        "{about} This is what is published. Later versions may add fields. What readers accept is in accepted/{event_type}.schema.json."
    );
    object(event_type, &about, &fields, &required)
}

/// Returns the schema of what readers accept.
fn accepted(event_type: &str, about: &str, schema: &Value) -> Value {
    let mut fields = properties(schema);
    for field in fields.values_mut() {
        let is_number = is_number(field);
        let field = field.as_object_mut().expect("a field has a schema");
        if is_number {
            field.remove("format");
            let mut types = vec![json!("integer"), json!("string")];
            types.extend(field["type"].is_array().then(|| json!("null")));
            field.insert("type".into(), Value::Array(types));
            field.insert("pattern".into(), json!(DECIMAL));
        }
    }
    if let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("description"); // it names a constant of the code
    }
    let head = json!({
        "eventType": { "const": event_type },
        "timestamp": { "description": "Not read: the original's has week-years and no time zone." },
        "eventId": {
            "type": ["string", "null"], "format": "uuid", "pattern": UUID,
            "description": "An event without it is identified by its position in the topic and a digest of its bytes.",
        },
        "occurredAt": {
            "type": ["string", "null"], "format": "date-time",
            "description": "An event without it happened when the topic took it.",
        },
    });
    fields.extend(head.as_object().expect("an object").clone());
    let mut required = vec!["eventType"];
    required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
    required.sort_unstable();
    let about = format!(
        "{about} This is what readers accept, also of the original and of earlier versions; they ignore other fields. A string of \
         digits is the number that it spells. A number must fit into 64 bits with a sign."
    );
    object(event_type, &about, &fields, &required)
}

/// Returns each file in `docs/events` with its schema.
fn schemas() -> BTreeMap<String, Value> {
    let each = |generator: SchemaGenerator, make: fn(&str, &str, &Value) -> Value, folder: &str| {
        let types = Event::schemas(&mut { generator });
        let file = |(event_type, about, schema): (&str, &str, schemars::Schema)| {
            let schema = make(event_type, about.trim(), schema.as_value());
            (format!("{folder}{event_type}.schema.json"), schema)
        };
        types.into_iter().map(file).collect::<Vec<_>>()
    };
    let mut all = each(settings().for_serialize().into_generator(), published, "");
    all.extend(each(settings().for_deserialize().into_generator(), accepted, "accepted/"));
    for (file, schema) in &mut all {
        if let Some(sample) =
            samples(env!("CARGO_PKG_VERSION")).remove(&file.replace(".schema", ""))
        {
            schema["examples"] = json!([sample]);
        }
    }
    all.into_iter().collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the JSON of the files in a folder, by name.
fn read(folder: &Path) -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let name = entry.file_name().into_string().unwrap();
            let json = serde_json::from_str(&text);
            files.insert(name, json.unwrap_or_else(|error| panic!("{:?}: {error}", entry.path())));
        }
    }
    files
}

fn samples(version: &str) -> BTreeMap<String, Value> {
    read(&root().join("common-events/tests/samples").join(version))
}

fn validator(schema: &Value) -> Validator {
    let options = jsonschema::options().with_draft(Draft::Draft7).should_validate_formats(true);
    options.build(schema).unwrap()
}

#[test]
fn the_schemas_in_the_book_are_those_of_the_types() {
    let (folder, made) = (root().join("docs/events"), schemas());
    #[expect(clippy::disallowed_methods, reason = "asks the test to write the files")]
    if std::env::var("WRITE_DOCS").is_ok() {
        let _ = std::fs::remove_dir_all(&folder); // also the files of types that are gone
        std::fs::create_dir_all(folder.join("accepted")).unwrap();
        for (file, schema) in &made {
            let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
            std::fs::write(folder.join(file), text).unwrap();
        }
    }
    let mut there = read(&folder);
    let accepted = read(&folder.join("accepted"));
    there.extend(accepted.into_iter().map(|(file, schema)| (format!("accepted/{file}"), schema)));
    let write = "write them anew: WRITE_DOCS=1 cargo test --workspace --lib schemas_in_the_book";
    assert_eq!(made.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>(), "{write}");
    for (file, schema) in &made {
        assert_eq!(schema, &there[file], "docs/events/{file}; {write}");
    }
}

#[test]
fn what_is_published_has_every_field_and_is_accepted() {
    let schemas = schemas();
    let samples = samples(env!("CARGO_PKG_VERSION"));
    let types: Vec<&str> = samples.keys().map(|file| file.trim_end_matches(".json")).collect();
    let mut there = Event::TYPES.to_vec();
    there.sort_unstable();
    assert_eq!(types, there, "each type has a sample of this version");
    for event_type in types {
        let sample = &samples[&format!("{event_type}.json")];
        let published = validator(&schemas[&format!("{event_type}.schema.json")]);
        let accepted = validator(&schemas[&format!("accepted/{event_type}.schema.json")]);
        published.validate(sample).unwrap();
        accepted.validate(sample).unwrap();
        for field in sample.as_object().unwrap().keys() {
            let mut other = sample.clone();
            other[field] = Value::Null;
            assert!(!published.is_valid(&other), "{event_type}: {field} is null");
            other.as_object_mut().unwrap().remove(field);
            assert!(!published.is_valid(&other), "{event_type} has no {field}");
        }
    }
}

#[test]
fn samples_of_the_original_are_accepted() {
    let (schemas, samples) = (schemas(), samples("original"));
    assert!(samples.len() > 5, "there are {} samples", samples.len());
    for (file, sample) in samples {
        let schema = &schemas[&format!("accepted/{}", file.replace(".json", ".schema.json"))];
        validator(schema).validate(&sample).unwrap();
    }
}

/// Changes each field of each sample in many ways.
#[test]
fn readers_accept_what_the_schema_says_and_nothing_else() {
    let (schemas, mut valid, mut invalid) = (schemas(), 0, 0);
    let values = [
        r#""7""#,
        r#""-7""#,
        "7",
        "7.0",
        "1e2",
        "7.5",
        r#""7.0""#,
        r#"" 7""#,
        r#""+7""#,
        r#""""#,
        r#""seven""#,
        "null",
        "true",
        "[]",
        "{}",
    ];
    for (file, sample) in samples(env!("CARGO_PKG_VERSION")) {
        let event_type = file.trim_end_matches(".json");
        let schema = validator(&schemas[&format!("accepted/{event_type}.schema.json")]);
        let mut check = |event: &Value, what: &str| {
            let read = Envelope::from_json(event.to_string().as_bytes());
            assert_eq!(schema.is_valid(event), read.is_ok(), "{event_type}, {what}: {read:?}");
            *if read.is_ok() { &mut valid } else { &mut invalid } += 1;
        };
        // Another type is another schema, or an event that readers skip.
        let fields = sample.as_object().unwrap().keys().filter(|field| *field != "eventType");
        for field in fields {
            for value in values {
                let mut other = sample.clone();
                other[field] = serde_json::from_str(value).unwrap();
                check(&other, &format!("{field} is {value}"));
            }
            let mut other = sample.clone();
            other.as_object_mut().unwrap().remove(field);
            check(&other, &format!("without {field}"));
        }
    }
    assert!(valid > 200 && invalid > 200, "{valid} are valid, {invalid} are not");
}
