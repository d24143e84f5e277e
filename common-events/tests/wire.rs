//! The JSON of every event, pinned: other systems read it.

use chrono::{DateTime, Utc};
use common_events::{
    CartAdded, CartId, CartRemoved, Decline, DecodeError, Envelope, Event, GifticonId, Payment,
    PaymentId, ReservationId, Stock,
};
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

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
    }
}

fn every_event() -> Vec<(Event, &'static str)> {
    let stock_fields =
        r#""id":3,"gifticonId":1,"name":"Americano","availableQuantity":90,"price":5000"#;
    let payment_fields = r#""id":4,"cartId":2,"amount":50000"#;
    let leak = |text: String| -> &'static str { text.leak() };
    vec![
        (Event::GifticonRegistered(stock()), leak(format!("{{{stock_fields}}}"))),
        (Event::QuantityModified(stock()), leak(format!("{{{stock_fields}}}"))),
        (Event::GifticonDeleted(stock()), leak(format!("{{{stock_fields}}}"))),
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
            }),
            r#"{"id":2,"gifticonId":1,"quantity":10,"status":"CartAdded","reservationId":"00000000-0000-0000-0000-000000000007","name":"Americano","price":5000,"amount":50000}"#,
        ),
        (
            Event::CartRemoved(CartRemoved {
                id: CartId(2),
                gifticon_id: GifticonId(1),
                quantity: 10,
                status: Some("CartRemoved".into()),
                reservation_id: Some(ReservationId(ID)),
            }),
            r#"{"id":2,"gifticonId":1,"quantity":10,"status":"CartRemoved","reservationId":"00000000-0000-0000-0000-000000000007"}"#,
        ),
        (
            Event::PaymentApproved(payment("PaymentApproved")),
            leak(format!("{{{payment_fields},\"status\":\"PaymentApproved\"}}")),
        ),
        (
            Event::PaymentDeclined(Decline {
                payment: payment("PaymentDeclined"),
                reason: Some("over the limit".into()),
            }),
            leak(format!(
                "{{{payment_fields},\"status\":\"PaymentDeclined\",\"reason\":\"over the limit\"}}"
            )),
        ),
        (
            Event::PaymentCancelled(payment("PaymentCanceled")),
            leak(format!("{{{payment_fields},\"status\":\"PaymentCanceled\"}}")),
        ),
    ]
}

#[test]
fn every_event_is_written_to_the_letter_and_read_back() {
    for (event, fields) in every_event() {
        let head = format!(
            r#"{{"eventType":"{}","timestamp":"20261231235958","eventId":"{ID}","occurredAt":"2026-12-31T23:59:58.123Z","#,
            event.event_type()
        );
        let envelope = Envelope::new(event, ID, at());
        let json = envelope.to_json();
        assert_eq!(json, format!("{head}{}", &fields[1..]));
        assert_eq!(Envelope::from_json(json.as_bytes()).unwrap(), envelope);
    }
}

#[test]
fn the_key_is_the_cart_or_the_gifticon() {
    for (event, _) in every_event() {
        let stock = matches!(
            event.event_type(),
            "GifticonRegistered" | "QuantityModified" | "GifticonDeleted"
        );
        assert_eq!(event.key(), if stock { "1" } else { "2" });
    }
}

#[test]
fn the_original_s_events_are_read() {
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
    assert!(matches!(Envelope::from_json(paid).unwrap().event, Event::PaymentApproved(_)));
}

/// How a field of the original's Java beans takes a JSON value: Jackson makes a `String` of a number,
/// but neither a `Long` nor an `Integer` of what is not a whole number in its range.
#[derive(Clone, Copy)]
enum Java {
    Long,
    Integer,
    String,
}

impl Java {
    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Long => value.as_i64().is_some(),
            Self::Integer => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Self::String => value.is_string() || value.is_number(),
        }
    }
}

/// The beans with which the original's services read: `eventType`, `timestamp`, and these. They know
/// their fields only, and ignore all others.
#[test]
fn the_original_s_beans_can_read_ours() {
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
            .expect("it is told");
        let json: Value = serde_json::from_str(&Envelope::new(event, ID, at()).to_json()).unwrap();
        assert_eq!(json["eventType"], event_type);
        let timestamp = json["timestamp"].as_str().unwrap();
        assert!(timestamp.len() == 14 && timestamp.bytes().all(|byte| byte.is_ascii_digit()));
        for (field, java) in fields {
            assert!(java.takes(&json[field]), "{event_type}: {field} is {}", json[field]);
        }
    }
}

#[test]
fn an_event_type_nobody_knows_is_unknown_and_not_an_error() {
    let json = br#"{"eventType":"CouponPrinted","timestamp":"20261231235958","id":{"a":1}}"#;
    assert_eq!(Envelope::from_json(json).unwrap().event, Event::Unknown);
}

#[test]
fn a_number_of_an_event_is_read_by_its_value_and_never_rounded() {
    let added = |quantity: &str| {
        let json = format!(
            r#"{{"eventType":"CartAdded","id":1.0,"gifticonId":9007199254740993.0,"quantity":{quantity}}}"#
        );
        Envelope::from_json(json.as_bytes())
    };
    let Event::CartAdded(cart) = added("1e2").unwrap().event else { panic!("not added") };
    let wanted = (CartId(1), GifticonId(9_007_199_254_740_993), 100);
    assert_eq!((cart.id, cart.gifticon_id, cart.quantity), wanted);
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
fn what_is_no_event_says_why() {
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

/// Only what may have told something of a cart is worth waiting for.
#[test]
fn what_cannot_be_read_is_about_a_cart_or_is_not() {
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
        let unreadable = Envelope::from_json(json.as_bytes()).unwrap_err();
        assert_eq!(unreadable.is_about_a_cart(), about_a_cart, "{json}: {unreadable}");
    }
    let unknown = Envelope::from_json(br#"{"eventType":"CouponPrinted","eventId":"no UUID"}"#);
    assert_eq!(unknown.unwrap().event, Event::Unknown);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::from_json(&bytes);
    }
}
