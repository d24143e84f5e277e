//! The exact answers to fields with values that are not allowed, in both languages.

use super::request::JSON;
use crate::common::Shop;
use std::fmt::Write as _;

/// An invalid field: its name, and its message in English and Korean.
type Field = (&'static str, &'static str, &'static str);

const LENGTH: Field = ("name", "has 1 to 80 characters", "1자 이상 80자 이하여야 합니다");
const INVISIBLE: Field =
    ("name", "has at least one visible character", "눈에 보이는 문자가 하나 이상 필요합니다");
const CONTROL: Field = (
    "name",
    "has no control characters, such as line breaks and tabs",
    "줄 바꿈이나 탭 같은 제어 문자는 쓸 수 없습니다",
);
const REORDERED: Field = (
    "name",
    "has no line breaks and no characters that change the direction of text (U+2028, U+2029, U+202A to U+202E, U+2066 to U+2069)",
    "줄 바꿈 문자나 글 방향을 바꾸는 문자(U+2028, U+2029, U+202A~U+202E, U+2066~U+2069)는 쓸 수 없습니다",
);
const RESERVATION: &str = "/reservations/018f0000-0000-7000-8000-000000000000";

/// Returns method, path, body and invalid fields of requests, the latter by their names. All numbers are read, as numbers or as strings.
fn requests() -> Vec<(&'static str, &'static str, &'static str, Vec<Field>)> {
    vec![
        (
            "POST",
            "/gifticons",
            r#"{"gifticonId":0,"name":" ","availableQuantity":-1,"price":1000000001}"#,
            vec![
                ("availableQuantity", "lower than 0", "0 이상이어야 합니다"),
                ("gifticonId", "lower than 1", "1 이상이어야 합니다"),
                LENGTH,
                ("price", "greater than 1000000000", "1000000000 이하여야 합니다"),
            ],
        ),
        (
            "POST",
            "/gifticons",
            r#"{"price":"-1","name":"\u200b","gifticonId":"9007199254740992","availableQuantity":"2147483648"}"#,
            vec![
                ("availableQuantity", "greater than 2147483647", "2147483647 이하여야 합니다"),
                ("gifticonId", "greater than 9007199254740991", "9007199254740991 이하여야 합니다"),
                INVISIBLE,
                ("price", "lower than 0", "0 이상이어야 합니다"),
            ],
        ),
        (
            "PATCH",
            "/gifticons/1",
            r#"{"availableQuantity":-1e3,"restock":"-2147483648","price":1000000001.0,"name":"a\u0000b"}"#,
            vec![
                ("availableQuantity", "lower than 0", "0 이상이어야 합니다"),
                CONTROL,
                ("price", "greater than 1000000000", "1000000000 이하여야 합니다"),
                ("restock", "lower than -2147483647", "-2147483647 이상이어야 합니다"),
            ],
        ),
        ("PATCH", "/gifticons/1", r#"{"name":"a\u202eb","price":1}"#, vec![REORDERED]),
        (
            "PATCH",
            "/gifticons/1",
            r#"{"restock":2147483648,"price":5000}"#,
            vec![("restock", "greater than 2147483647", "2147483647 이하여야 합니다")],
        ),
        (
            "POST",
            "/carts",
            r#"{"gifticonId":-1,"quantity":"0"}"#,
            vec![
                ("gifticonId", "lower than 1", "1 이상이어야 합니다"),
                ("quantity", "lower than 1", "1 이상이어야 합니다"),
            ],
        ),
        (
            "POST",
            "/carts",
            r#"{"gifticonId":1,"quantity":99999999999999999999}"#,
            vec![("quantity", "greater than 2147483647", "2147483647 이하여야 합니다")],
        ),
        (
            "PUT",
            RESERVATION,
            r#"{"gifticonId":9007199254740992,"quantity":-99999999999999999999}"#,
            vec![
                ("gifticonId", "greater than 9007199254740991", "9007199254740991 이하여야 합니다"),
                ("quantity", "lower than 1", "1 이상이어야 합니다"),
            ],
        ),
    ]
}

/// Returns the body of the refusal.
fn refusal(path: &str, fields: &[Field], korean: bool) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.0).collect();
    let names = names.join(", ");
    let (title, detail) = if korean {
        ("허용되지 않는 값이 있습니다", format!("{names} 값을 고쳐서 다시 보내 주세요"))
    } else {
        ("A field has a value that is not allowed", format!("correct {names} and send it again"))
    };
    let mut errors = String::new();
    for (field, en, ko) in fields {
        let comma = if errors.is_empty() { "" } else { "," };
        let message = if korean { ko } else { en };
        let _ = write!(errors, r#"{comma}{{"field":"{field}","message":"{message}"}}"#);
    }
    format!(
        r#"{{"type":"/problems/invalid","title":"{title}","status":422,"detail":"{detail}","instance":"{path}","traceId":"{TRACE}","errors":[{errors}]}}"#
    )
}

/// The trace of each request.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn every_invalid_field_is_named_with_its_message_in_both_languages() {
    let shop = Shop::with_a_paid_cart().await;
    for (method, path, body, fields) in requests() {
        let door = if path == RESERVATION { &shop.direct["gifticon"] } else { &shop.web };
        for (language, korean) in [("en", false), ("ko", true)] {
            let request =
                door.client.request(method.parse().unwrap(), format!("{}{path}", door.base));
            let request = request.header("content-type", JSON).header("accept-language", language);
            let request = request.header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
            let answer = request.body(body).send().await.unwrap();
            assert_eq!(answer.status(), 422, "{method} {path} {body}");
            assert_eq!(answer.headers()["content-language"], language, "{method} {path} {body}");
            let text = answer.text().await.unwrap();
            assert_eq!(text, refusal(path, &fields, korean), "{method} {path} {body}");
        }
    }
    shop.stop().await;
}
