//! The wire format of the events, which other systems read and write.

use chrono::{DateTime, Utc};
use common_events::{
    CartAdded, CartId, CartRemoved, Decline, DecodeError, Envelope, Event, GifticonId, Owner,
    Payment, PaymentId, ReservationId, Stock,
};
use serde_json::Value;
use uuid::Uuid;

mod properties;
mod samples;

const ID: Uuid = Uuid::from_u128(7);

fn at() -> DateTime<Utc> {
    "2026-12-31T23:59:58.123Z".parse().unwrap()
}

fn stock() -> Stock {
    Stock {
        id: 3,
        gifticon_id: Some(GifticonId(1)),
        name: Some("Americano".into()),
        available_quantity: Some(90),
        price: Some(5000),
    }
}

fn payment(status: &str) -> Payment {
    Payment {
        id: PaymentId(4),
        cart_id: CartId(2),
        amount: Some(50000),
        status: Some(status.into()),
        owner: Owner::of_subject("https://id.example", "alice"),
    }
}

/// Each event type with its message, as other systems read it.
fn every_event() -> Vec<(Event, &'static str)> {
    vec![
        (
            Event::GifticonRegistered(stock()),
            r#"{"eventType":"GifticonRegistered","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z","id":3,"gifticonId":1,"name":"Americano","availableQuantity":90,"price":5000}"#,
        ),
        (
            Event::QuantityModified(stock()),
            r#"{"eventType":"QuantityModified","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z","id":3,"gifticonId":1,"name":"Americano","availableQuantity":90,"price":5000}"#,
        ),
        (
            Event::GifticonDeleted(stock()),
            r#"{"eventType":"GifticonDeleted","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z","id":3,"gifticonId":1,"name":"Americano","availableQuantity":90,"price":5000}"#,
        ),
        (
            Event::CartAdded(CartAdded {
                id: CartId(2),
                gifticon_id: GifticonId(1),
                quantity: 10,
                status: Some("CartAdded".into()),
                reservation_id: Some(ReservationId(ID)),
                name: Some("Americano".into()),
                price: Some(5000),
                amount: Some(50000),
                owner: Owner::GUEST,
            }),
            r#"{"eventType":"CartAdded","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z","id":2,"gifticonId":1,"quantity":10,"status":"CartAdded","reservationId":"00000000-0000-0000-0000-000000000007","name":"Americano","price":5000,"amount":50000,"owner":"guest"}"#,
        ),
        (
            Event::CartRemoved(CartRemoved {
                id: CartId(2),
                gifticon_id: GifticonId(1),
                quantity: 10,
                status: Some("CartRemoved".into()),
                reservation_id: Some(ReservationId(ID)),
                owner: Owner::GUEST,
            }),
            r#"{"eventType":"CartRemoved","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z","id":2,"gifticonId":1,"quantity":10,"status":"CartRemoved","reservationId":"00000000-0000-0000-0000-000000000007","owner":"guest"}"#,
        ),
        (
            Event::PaymentApproved(payment("PaymentApproved")),
            r#"{"eventType":"PaymentApproved","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z","id":4,"cartId":2,"amount":50000,"status":"PaymentApproved","owner":"https://id.example#alice"}"#,
        ),
        (
            Event::PaymentDeclined(Decline {
                payment: payment("PaymentDeclined"),
                reason: Some("over the limit".into()),
            }),
            r#"{"eventType":"PaymentDeclined","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z","id":4,"cartId":2,"amount":50000,"status":"PaymentDeclined","owner":"https://id.example#alice","reason":"over the limit"}"#,
        ),
        (
            Event::PaymentCancelled(payment("PaymentCanceled")),
            r#"{"eventType":"PaymentCancelled","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z","id":4,"cartId":2,"amount":50000,"status":"PaymentCanceled","owner":"https://id.example#alice"}"#,
        ),
        (
            Event::Unknown,
            r#"{"eventType":"Unknown","timestamp":"20261231235958","eventId":"00000000-0000-0000-0000-000000000007","occurredAt":"2026-12-31T23:59:58.123Z"}"#,
        ),
    ]
}

#[test]
fn the_json_of_every_event_is_pinned() {
    for (event, json) in every_event() {
        let envelope = Envelope::new(event, ID, at());
        assert_eq!(envelope.to_json(), json);
        assert_eq!(Envelope::from_json(json.as_bytes()).unwrap(), envelope);
    }
}

#[test]
fn every_event_type_but_unknown_is_known() {
    for (event, _) in every_event() {
        let event_type = event.event_type();
        assert_eq!(Event::is_known(event_type), event != Event::Unknown, "{event_type}");
    }
}

#[test]
fn the_key_is_the_id_of_the_cart_or_the_gifticon() {
    for (event, _) in every_event() {
        let event_type = event.event_type();
        let (key, about_a_cart) = match event_type {
            "GifticonRegistered" | "QuantityModified" | "GifticonDeleted" => ("1", false),
            "Unknown" => ("", false),
            _ => ("2", true),
        };
        assert_eq!(event.key(), key, "{event_type}");
        assert_eq!(Event::is_about_a_cart(event_type), about_a_cart, "{event_type}");
    }
}

#[test]
fn an_event_without_a_time_happened_when_the_topic_took_it() {
    let appended = DateTime::from_timestamp_millis(7).unwrap();
    let mut envelope = Envelope::new(Event::Unknown, ID, at());
    assert_eq!(envelope.happened_at(7), at());
    envelope.occurred_at = None;
    assert_eq!(envelope.happened_at(7), appended);
    assert_eq!(envelope.happened_at(i64::MAX), DateTime::<Utc>::default(), "out of range");
}

#[test]
fn events_of_the_original_are_read() {
    let added = br#"{"eventType":"CartAdded","timestamp":"20210706081234","id":1,"gifticonId":"1","quantity":10,"status":"CartAdded","me":true}"#;
    let Envelope { event_id: None, occurred_at: None, event: Event::CartAdded(added) } =
        Envelope::from_json(added).unwrap()
    else {
        panic!("read as something else")
    };
    assert_eq!((added.id, added.gifticon_id, added.quantity), (CartId(1), GifticonId(1), 10));
    assert_eq!((added.amount, added.reservation_id), (None, None));

    let stock = br#"{"eventType":"QuantityModified","timestamp":"20210706081234","id":1,"musicalId":null,"name":"Americano","availableQuantity":90,"price":5000}"#;
    assert!(matches!(
        Envelope::from_json(stock).unwrap().event,
        Event::QuantityModified(Stock { id: 1, gifticon_id: None, .. })
    ));

    let paid = br#"{"eventType":"PaymentApproved","timestamp":"20210706081234","id":1,"cartId":1,"status":"PaymentApproved"}"#;
    let Event::PaymentApproved(paid) = Envelope::from_json(paid).unwrap().event else {
        panic!("it is read as itself")
    };
    assert_eq!((added.owner, paid.owner), (Owner::GUEST, Owner::GUEST));
}

/// The type of a field of the original's Java beans. Jackson reads a number as a `String`, but as `Long` or `Integer` only a
/// whole number in range.
#[derive(Clone, Copy)]
enum Java {
    Long,
    Integer,
    String,
}

impl Java {
    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Long => value.as_i64().is_some(),
            Self::Integer => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Self::String => value.is_string() || value.is_number(),
        }
    }
}

/// Beside these fields each bean has `eventType` and `timestamp`. It ignores all other fields.
#[test]
fn the_java_beans_of_the_original_can_read_our_events() {
    use Java::{Integer, Long, String};
    let cart =
        &[("id", Long), ("gifticonId", String), ("quantity", Integer), ("status", String)][..];
    let payment = &[("id", Long), ("cartId", Long), ("status", String)][..];
    let stock = &[("id", Long), ("name", String), ("availableQuantity", Integer), ("price", Long)];
    let beans = [
        ("GifticonRegistered", &stock[..]),
        ("QuantityModified", stock),
        ("CartAdded", cart),
        ("CartRemoved", cart),
        ("PaymentApproved", payment),
        ("PaymentCancelled", payment),
    ];
    for (event_type, fields) in beans {
        let (event, _) = every_event()
            .into_iter()
            .find(|(event, _)| event.event_type() == event_type)
            .expect("an event of this type");
        let json: Value = serde_json::from_str(&Envelope::new(event, ID, at()).to_json()).unwrap();
        assert_eq!(json["eventType"], event_type);
        let timestamp = json["timestamp"].as_str().unwrap();
        assert!(timestamp.len() == 14 && timestamp.bytes().all(|byte| byte.is_ascii_digit()));
        for (field, java) in fields {
            assert!(java.accepts(&json[field]), "{event_type}: {field} is {}", json[field]);
        }
    }
}

#[test]
fn an_unknown_event_type_is_not_an_error() {
    let json = br#"{"eventType":"CouponPrinted","timestamp":"20261231235958","id":{"a":1}}"#;
    assert_eq!(Envelope::from_json(json).unwrap().event, Event::Unknown);
}

#[test]
fn numbers_in_events_are_read_by_their_value_and_never_rounded() {
    let added = |quantity: &str| {
        let json = format!(
            r#"{{"eventType":"CartAdded","id":1.0,"gifticonId":9007199254740993.0,"quantity":{quantity}}}"#
        );
        Envelope::from_json(json.as_bytes())
    };
    let Event::CartAdded(cart) = added("1e2").unwrap().event else { panic!("not added") };
    let expected = (CartId(1), GifticonId(9_007_199_254_740_993), 100);
    assert_eq!((cart.id, cart.gifticon_id, cart.quantity), expected);
    for quantity in ["1.0000000000000000001", "\"1.0\"", "1e400", "1e-1"] {
        assert!(added(quantity).is_err(), "{quantity} was read");
    }
    let declined = |amount: &str| {
        let json = format!(
            r#"{{"eventType":"PaymentDeclined","id":4.0,"cartId":"2","amount":{amount},"reason":"x"}}"#
        );
        Envelope::from_json(json.as_bytes())
    };
    let Event::PaymentDeclined(decline) = declined("9007199254740993.0").unwrap().event else {
        panic!("not declined")
    };
    assert_eq!(decline.payment.amount, Some(9_007_199_254_740_993));
    assert_eq!((decline.payment.cart_id, decline.reason.as_deref()), (CartId(2), Some("x")));
    assert!(declined("1.0000000000000000001").is_err());
}

#[test]
fn a_message_that_is_no_event_gives_the_reason() {
    let reason = |json: &[u8]| Envelope::from_json(json).unwrap_err();
    assert!(matches!(reason(b"\xff\xfe"), DecodeError::NotJson(_)));
    assert!(matches!(reason(b"[1]"), DecodeError::NotJson(_)));
    assert!(matches!(reason(b""), DecodeError::NotJson(_)));
    assert!(matches!(reason(b"{}"), DecodeError::NoEventType));
    assert!(matches!(reason(br#"{"eventType":null}"#), DecodeError::NoEventType));
    assert!(matches!(reason(br#"{"eventType":5}"#), DecodeError::NoEventType));
    assert!(matches!(reason(br#"{"eventType":"CartAdded"}"#), DecodeError::Malformed { .. }));
    assert!(matches!(
        reason(br#"{"eventType":"CartAdded","id":1,"gifticonId":1,"quantity":1.5}"#),
        DecodeError::Malformed { .. }
    ));
}

/// A damaged event of a cart holds back the later events of its key; no other message does.
#[test]
fn an_unreadable_message_is_about_a_cart_if_its_type_is() {
    for (json, about_a_cart) in [
        (r#"{"eventType":"CartAdded"}"#, true),
        (r#"{"eventType":"CartAdded","eventType":"CartAdded"}"#, true),
        (r#"{"eventType":"PaymentApproved","eventId":"no UUID"}"#, true),
        (r#"{"eventType":"CartRemoved","occurredAt":"yesterday"}"#, true),
        (r#"{"eventType":"QuantityModified","id":"x"}"#, false),
        (r#"{"eventType":5}"#, false),
        ("{}", false),
        ("CartAdded", false),
    ] {
        let error = Envelope::from_json(json.as_bytes()).unwrap_err();
        assert_eq!(error.is_about_a_cart(), about_a_cart, "{json}: {error}");
    }
    let unknown = Envelope::from_json(br#"{"eventType":"CouponPrinted","eventId":"no UUID"}"#);
    assert_eq!(unknown.unwrap().event, Event::Unknown);
}
