//! Why a JSON body could not be read, in both languages. serde says it in English, and often without the field.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use serde::de::DeserializeOwned;
use serde_json::Error;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::str::Utf8Error;

/// What the fields of our requests may be, in the words of serde and in Korean.
const EXPECTED: [(&str, &str); 2] = [
    ("a whole number, or a string of decimal digits", "정수 또는 숫자로만 된 문자열"),
    ("a string", "문자열"),
];

/// Returns the refusal of a body that cannot be read.
pub(super) fn unreadable(detail: Text) -> Problem {
    Problem::new(kind::MALFORMED, detail)
}

pub(super) fn not_utf_8(error: &Utf8Error) -> Problem {
    let at = error.valid_up_to();
    unreadable(Text::new(
        format!("the body is not UTF-8 at byte {at}"),
        format!("본문의 {at}번째 바이트가 UTF-8이 아닙니다"),
    ))
}

/// Returns the refusal of `text`, of which serde could not make a `T`.
pub(super) fn why<T: DeserializeOwned>(text: &str, error: &Error) -> Problem {
    let said = without_place(error);
    let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
        let (line, column) = (error.line(), error.column());
        return unreadable(Text::new(
            format!("this is not JSON: {error}"),
            format!("JSON 형식이 올바르지 않습니다 ({line}번째 줄, {column}번째 바이트)"),
        ));
    };
    if let Some(field) = quoted(&said, "duplicate field ") {
        return unreadable(Text::new(
            format!("{field} is there twice; send it once"),
            format!("{field} 필드가 두 번 있습니다. 한 번만 보내 주세요"),
        ));
    }
    // Each field alone: what is wrong with one of them is said of that one, while others are said to be missing.
    for (field, value) in fields {
        let Ok(name) = serde_json::to_string(&field) else { continue };
        let alone = format!("{{{name}:{}}}", value.get());
        if let Err(error) = serde_json::from_str::<T>(&alone)
            && !error.to_string().starts_with("missing field")
        {
            return unreadable(of_field(&field, &without_place(&error)));
        }
    }
    if let Some(field) = quoted(&said, "missing field ") {
        return unreadable(Text::new(
            format!("{field} is missing"),
            format!("{field} 필드가 필요합니다"),
        ));
    }
    unreadable(Text::new(said, "본문을 읽을 수 없습니다. 필드와 값을 확인해 주세요"))
}

/// What is wrong with the value of `field`, of which serde says `said`.
fn of_field(field: &str, said: &str) -> Text {
    let expected = said.split_once(", expected ").map(|(_, expected)| expected);
    let korean = EXPECTED.iter().find(|(english, _)| Some(*english) == expected);
    let korean = match korean {
        Some((_, korean)) => format!("{field} 필드에는 {korean}을 보내 주세요"),
        None => format!("{field} 필드의 값을 읽을 수 없습니다"),
    };
    Text::new(format!("{field}: {said}"), korean)
}

/// What serde says, without the line and the column.
fn without_place(error: &Error) -> String {
    let said = error.to_string();
    said.rsplit_once(" at line ").map_or(said.clone(), |(said, _)| said.to_owned())
}

/// The name between backticks after `start`.
fn quoted<'s>(said: &'s str, start: &str) -> Option<&'s str> {
    said.strip_prefix(start)?.strip_prefix('`')?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use super::*;
    use common_events::number;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wanted {
        #[serde(deserialize_with = "number::saturating")]
        #[expect(dead_code, reason = "it is read only")]
        gifticon_id: i64,
        #[expect(dead_code, reason = "it is read only")]
        name: String,
    }

    #[test]
    fn a_field_and_what_it_should_be_are_named_in_both_languages() {
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
            let error = serde_json::from_str::<Wanted>(body).unwrap_err();
            let problem = format!("{:?}", why::<Wanted>(body, &error));
            for text in [en, ko] {
                assert!(problem.contains(&format!("{text:?}")), "{body}: {problem}");
            }
        }
    }
}
