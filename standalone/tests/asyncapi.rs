//! Compares docs/asyncapi.yaml and docs/events with the code, and with every event of an end-to-end run.

mod common;

use chassis::bus::Delivery;
use chassis::service::launch::command;
use chassis::testing::eventually;
use common::Shop;
use common::files::{below, items, text, yaml};
use common::services::services;
use common_events::{Envelope, Event};
use gateway::services::names;
use jsonschema::{Draft, Validator};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

fn document() -> Value {
    yaml("docs/asyncapi.yaml")
}

fn types() -> BTreeSet<String> {
    Event::TYPES.iter().map(|event_type| (*event_type).to_owned()).collect()
}

/// Returns the last step of a reference.
fn target(reference: &Value) -> &str {
    reference["$ref"].as_str().and_then(|path| path.rsplit('/').next()).expect("a reference")
}

/// Returns the messages of each operation with this action, by the name of its service.
fn operations(action: &str) -> BTreeMap<String, BTreeSet<String>> {
    let document = document();
    let mut all = BTreeMap::new();
    for (name, operation) in document["operations"].as_object().unwrap() {
        if operation["action"] != action {
            continue;
        }
        let service = name.trim_end_matches("Sends").trim_end_matches("Receives").to_owned();
        let messages = items(&operation["messages"]).iter();
        all.insert(service, messages.map(|message| target(message).to_owned()).collect());
    }
    all
}

fn validator(schema: &Value) -> Validator {
    let options = jsonschema::options().with_draft(Draft::Draft7).should_validate_formats(true);
    options.build(schema).unwrap()
}

/// Returns a schema that the document refers to.
fn schema(reference: &Value) -> Value {
    let file = reference["$ref"].as_str().expect("a reference to a file");
    serde_json::from_str(&text(&format!("docs/{file}"))).unwrap()
}

#[test]
fn the_document_has_the_event_types_of_the_code() {
    let document = document();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let names = |messages: &Value| messages.as_object().unwrap().keys().cloned().collect();
    let channel = &document["channels"]["gifticon"]["messages"];
    let messages = &document["components"]["messages"];
    let [there, told]: [BTreeSet<String>; 2] = [names(channel), names(messages)];
    assert_eq!((&there, &told), (&types(), &types()));
    let mut files = BTreeSet::new();
    for (name, message) in messages.as_object().unwrap() {
        assert_eq!(target(&channel[name]), name);
        for (field, folder) in [("payload", "events"), ("x-accepted-payload", "events/accepted")] {
            let file = format!("{folder}/{name}.schema.json");
            assert_eq!(message[field]["$ref"], file);
            files.insert(Path::new("docs").join(file));
        }
        let about = if Event::is_about_a_cart(name) { "aboutACart" } else { "aboutAGifticon" };
        let traits: Vec<&str> = items(&message["traits"]).iter().map(target).collect();
        assert_eq!(traits, ["event", about], "{name}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let relative = |file: &Path| file.strip_prefix(&root).unwrap().to_owned();
    let there: BTreeSet<_> =
        below("docs/events", "json").iter().map(|file| relative(file)).collect();
    assert_eq!(there, files, "each schema is in the document");
}

#[test]
fn the_document_says_who_acts_on_which_event() {
    let told = operations("receive");
    let version = env!("CARGO_PKG_VERSION");
    let sample = |event_type: &str| {
        let file = format!("common-events/tests/samples/{version}/{event_type}.json");
        Envelope::from_json(text(&file).as_bytes()).unwrap()
    };
    let acting = services().map(|service| {
        let acts = |event_type: &String| (service.acts_on)(&sample(event_type));
        (service.name.to_owned(), types().into_iter().filter(acts).collect())
    });
    assert_eq!(told, BTreeMap::from(acting));
    let document = document();
    for service in names() {
        let operation = &document["operations"][format!("{service}Receives")];
        // A consumer group has the name of its service.
        assert_eq!(operation["bindings"]["kafka"]["groupId"]["const"], service);
    }
}

#[test]
fn the_topic_is_made_as_the_document_says() {
    let channel = &document()["channels"]["gifticon"];
    let standalone = command::<standalone::StandaloneConfig>("standalone", standalone::ABOUT, 0);
    let topic = standalone.get_arguments().find(|one| one.get_id() == "kafka_topic").unwrap();
    let topic = topic.get_default_values()[0].to_str().unwrap();
    assert_eq!(
        (&channel["address"], &channel["bindings"]["kafka"]["topic"]),
        (&topic.into(), &topic.into())
    );
    let made = text("chassis/src/bus/kafka/topic.rs");
    let binding = &channel["bindings"]["kafka"];
    assert!(made.contains(&format!("const PARTITIONS: i32 = {};", binding["partitions"])));
    for (setting, value) in binding["topicConfiguration"].as_object().unwrap() {
        let value = value.as_str().map_or_else(|| value.to_string(), Into::into);
        assert!(made.contains(&format!(".set(\"{setting}\", \"{value}\")")), "{setting}");
    }
    assert_eq!(made.matches(".set(\"").count(), 2, "each setting is in the document");
}

/// Registers, sells, cancels and deletes until there was an event of each type, and returns them all.
async fn every_event_of_a_run() -> Vec<Arc<Delivery>> {
    let shop = Shop::with(|config| config.limit.payment_limit = Some(20_000)).await;
    shop.web.register(1, 100, 5_000).await;
    shop.web.register(2, 10, 5_000).await;
    let paid = shop.web.add(1, 4, None).await.unwrap().1["id"].as_i64().unwrap();
    shop.web.add(1, 5, None).await.unwrap(); // declined: it is above the limit
    eventually("the first to be paid", async || {
        (shop.web.get(&format!("/carts/{paid}")).await["status"] == "PaymentApproved").then_some(())
    })
    .await;
    assert_eq!(shop.web.cancel(paid).await.unwrap().0, StatusCode::NO_CONTENT);
    let deleted = shop.web.ask(Method::DELETE, "/gifticons/2", None).await.unwrap();
    assert_eq!(deleted.0, StatusCode::NO_CONTENT);
    let log = shop.log.clone().unwrap();
    let events = eventually("an event of each type", async || {
        let events = log.history().await.unwrap();
        let seen = events.iter().filter_map(|event| Some(event.header("ce_type")?.to_owned()));
        (seen.collect::<BTreeSet<_>>() == types()).then_some(events)
    })
    .await;
    shop.stop().await;
    events
}

#[tokio::test]
async fn every_event_of_a_run_is_as_the_document_says() {
    let document = document();
    let traits = &document["components"]["messageTraits"];
    let headers_schema = &traits["event"]["headers"];
    let headers_are_valid = validator(headers_schema);
    let mut senders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut seen_headers = BTreeSet::new();
    for message in every_event_of_a_run().await {
        let bytes = message.payload.as_deref().unwrap();
        let payload: Value = serde_json::from_slice(bytes).unwrap();
        let event_type = payload["eventType"].as_str().unwrap();
        let told = &document["components"]["messages"][event_type];
        for field in ["payload", "x-accepted-payload"] {
            let schema = schema(&told[field]);
            validator(&schema)
                .validate(&payload)
                .unwrap_or_else(|error| panic!("{payload}: {error}"));
            for name in payload.as_object().unwrap().keys() {
                assert!(schema["properties"].get(name).is_some(), "{event_type} has no {name}");
            }
        }
        let envelope = Envelope::from_json(bytes).unwrap();
        assert_eq!(message.key, Some(envelope.event.key()));
        let key = &traits[target(&told["traits"][1])]["bindings"]["kafka"]["key"];
        assert!(validator(key).is_valid(&message.key.clone().into()));

        let headers: Map<String, Value> = message
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        seen_headers.extend(headers.keys().cloned());
        assert_eq!(
            (&headers["ce_id"], &headers["ce_type"]),
            (&payload["eventId"], &payload["eventType"])
        );
        let source = headers["ce_source"].as_str().unwrap().trim_start_matches('/');
        senders.entry(source.to_owned()).or_default().insert(event_type.to_owned());
        headers_are_valid.validate(&headers.into()).unwrap();
    }
    assert_eq!(senders, operations("send"));
    let told: BTreeSet<String> =
        headers_schema["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(seen_headers, told);
}
