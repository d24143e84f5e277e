//! Properties of messages that are no event, or almost one.

use crate::every_event;
use common_events::Envelope;
use proptest::prelude::*;
use serde_json::Value;

/// JSON values of every type, among them those that events have.
fn any_value() -> impl Strategy<Value = Value> {
    let known = prop::sample::select(vec![
        Value::from("CartAdded"),
        Value::from("00000000-0000-0000-0000-000000000007"),
        Value::from("2026-12-31T23:59:58.123Z"),
        Value::from("99999999999999999999"),
        Value::Null,
    ]);
    let scalar = prop_oneof![
        known,
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Messages that are almost events: an object with the names of an event's fields, an event type that is mostly known, and
/// any values.
fn almost_an_event() -> impl Strategy<Value = String> {
    let types: Vec<&str> = every_event().iter().map(|(event, _)| event.event_type()).collect();
    let names = prop::sample::select(vec![
        "eventType",
        "eventId",
        "occurredAt",
        "timestamp",
        "id",
        "gifticonId",
        "cartId",
        "quantity",
        "availableQuantity",
        "amount",
        "price",
        "status",
        "reason",
        "reservationId",
        "name",
        "unknown",
    ]);
    let fields = prop::collection::vec((names, any_value()), 0..8);
    (prop::sample::select(types), fields).prop_map(|(event_type, fields)| {
        let mut json = format!(r#"{{"eventType":"{event_type}""#);
        for (name, value) in fields {
            json = format!(r#"{json},"{name}":{value}"#); // a name may be there twice
        }
        json + "}"
    })
}

proptest! {
    #[test]
    fn almost_events_never_panic(json in almost_an_event(), cut in any::<prop::sample::Index>()) {
        if let Ok(envelope) = Envelope::from_json(json.as_bytes()) {
            let again = Envelope::from_json(envelope.to_json().as_bytes()).unwrap();
            prop_assert_eq!(again.event, envelope.event);
        }
        let cut = cut.index(json.len());
        prop_assert!(Envelope::from_json(&json.as_bytes()[..cut]).is_err(), "cut at {}", cut);
    }

    #[test]
    fn damaged_events_never_panic(
        event in any::<prop::sample::Index>(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut json = event.get(&every_event()).1.as_bytes().to_vec();
        let position = position.index(json.len());
        json[position] = byte;
        let _ = Envelope::from_json(&json);
    }
}
