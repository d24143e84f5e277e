//! Error responses for invalid JSON, in both languages. The errors of serde are in English, and often lack the field.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use serde::de::DeserializeOwned;
use serde_json::Error;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::str::Utf8Error;

/// The expectations of serde for the fields of our requests, in English and in Korean.
const EXPECTED: [(&str, &str); 2] = [
    ("a whole number, or a string of decimal digits", "정수 또는 숫자로만 된 문자열"),
    ("a string", "문자열"),
];

/// Returns 400 for a body that cannot be read.
pub(super) fn malformed(detail: Text) -> Problem {
    Problem::new(kind::MALFORMED, detail)
}

/// Returns 400 for a body that is not UTF-8.
pub(super) fn not_utf_8(error: &Utf8Error) -> Problem {
    let position = error.valid_up_to();
    malformed(Text::new(
        format!("the body is not UTF-8 at byte {position}"),
        format!("본문의 {position}번째 바이트가 UTF-8이 아닙니다"),
    ))
}

/// Returns 400 for `text`, which serde could not read as a `T` because of `error`.
pub(super) fn problem<T: DeserializeOwned>(text: &str, error: &Error) -> Problem {
    let message = without_position(error);
    let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
        let (line, column) = (error.line(), error.column());
        return malformed(Text::new(
            format!("this is not JSON: {error}"),
            format!("JSON 형식이 올바르지 않습니다 ({line}번째 줄, {column}번째 바이트)"),
        ));
    };
    if let Some(field) = quoted(&message, "duplicate field ") {
        return malformed(Text::new(
            format!("{field} is there twice; send it once"),
            format!("{field} 필드가 두 번 있습니다. 한 번만 보내 주세요"),
        ));
    }
    // Reads each field alone to find the invalid one: its error is then any but "missing field".
    for (field, value) in fields {
        let Ok(name) = serde_json::to_string(&field) else { continue };
        let object = format!("{{{name}:{}}}", value.get());
        if let Err(error) = serde_json::from_str::<T>(&object)
            && !error.to_string().starts_with("missing field")
        {
            return malformed(field_error(&field, &without_position(&error)));
        }
    }
    if let Some(field) = quoted(&message, "missing field ") {
        return malformed(Text::new(
            format!("{field} is missing"),
            format!("{field} 필드가 필요합니다"),
        ));
    }
    malformed(Text::new(message, "본문을 읽을 수 없습니다. 필드와 값을 확인해 주세요"))
}

/// Returns the message for the value of `field`, from the message of serde.
fn field_error(field: &str, message: &str) -> Text {
    let expected = message.split_once(", expected ").map(|(_, expected)| expected);
    let korean = EXPECTED.iter().find(|(english, _)| Some(*english) == expected);
    let korean = match korean {
        Some((_, korean)) => format!("{field} 필드에는 {korean}을 보내 주세요"),
        None => format!("{field} 필드의 값을 읽을 수 없습니다"),
    };
    Text::new(format!("{field}: {message}"), korean)
}

/// Returns the message of serde without line and column.
fn without_position(error: &Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(message.clone(), |(message, _)| message.to_owned())
}

/// Returns the name between backticks after `start`.
fn quoted<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.strip_prefix(start)?.strip_prefix('`')?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use super::*;
    use common_events::number;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        #[serde(deserialize_with = "number::saturating")]
        #[expect(dead_code, reason = "only its reading is tested")]
        gifticon_id: i64,
        #[expect(dead_code, reason = "only its reading is tested")]
        name: String,
    }

    #[test]
    fn the_field_and_the_expected_type_are_named_in_both_languages() {
        for (body, en, ko) in [
            (
                r#"{"gifticonId":1.5,"name":"x"}"#,
                "gifticonId: invalid type: a number with a fraction, expected a whole number, or a string of decimal digits",
                "gifticonId 필드에는 정수 또는 숫자로만 된 문자열을 보내 주세요",
            ),
            (
                r#"{"other":1,"name":7,"gifticonId":1}"#,
                "name: invalid type: integer `7`, expected a string",
                "name 필드에는 문자열을 보내 주세요",
            ),
            (
                r#"{"name":null}"#,
                "name: invalid type: null, expected a string",
                "name 필드에는 문자열을 보내 주세요",
            ),
            (r#"{"name":"x"}"#, "gifticonId is missing", "gifticonId 필드가 필요합니다"),
            (
                r#"{"name":"x","name":"y","gifticonId":1}"#,
                "name is there twice; send it once",
                "name 필드가 두 번 있습니다. 한 번만 보내 주세요",
            ),
            (
                r#"{"gifticonId":1,"name":"\ud800"}"#,
                "name: unexpected end of hex escape",
                "name 필드의 값을 읽을 수 없습니다",
            ),
            (
                r#"{"gifticonId":01}"#,
                "this is not JSON: invalid number at line 1 column 16",
                "JSON 형식이 올바르지 않습니다 (1번째 줄, 16번째 바이트)",
            ),
        ] {
            let error = serde_json::from_str::<Fields>(body).unwrap_err();
            let problem = format!("{:?}", problem::<Fields>(body, &error));
            for text in [en, ko] {
                assert!(problem.contains(&format!("{text:?}")), "{body}: {problem}");
            }
        }
    }
}
