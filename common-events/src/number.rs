//! Whole numbers in JSON, as a number or as a string: `100` and `"100"`.
//!
//! httpie's `quantity=10` sends a string, and half of the original's events have a string in `gifticonId`. A JSON number is
//! whole by its value, as in JSON Schema: `122.0` is 122. A string has decimal digits only. Anything else is an error; no
//! value is ever rounded.

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The largest `gifticonId`: the largest whole number that every JSON reader keeps exact.
pub const GIFTICON_ID_MAX: i64 = 9_007_199_254_740_991;
/// The most units in a stock, in a cart and in a reservation: the original's `Integer`.
pub const UNITS_MAX: i64 = 2_147_483_647;
/// Reservations in one call at most. If the call is late, the outcome of so many is unknown.
pub const RESERVATIONS_MAX: usize = 64;

/// Reads a JSON number or a decimal string as an `i64`. A number out of range is an error.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Whole::deserialize(deserializer)? {
        Whole::In(number) => Ok(number),
        Whole::Below | Whole::Above => Err(de::Error::custom("the number is out of range")),
    }
}

/// Like [`lenient`], but a number out of range becomes the nearest `i64`.
///
/// For fields with a narrower range that is checked afterwards: the client then gets the message of that field.
pub fn saturating<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(match Whole::deserialize(deserializer)? {
        Whole::In(number) => number,
        Whole::Below => i64::MIN,
        Whole::Above => i64::MAX,
    })
}

/// Like [`saturating`], for an optional field with `#[serde(default)]`. `null` is an error, as in a required field.
pub fn saturating_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    saturating(deserializer).map(Some)
}

/// Like [`lenient`], for an optional field. `null` counts as absent.
pub fn lenient_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Present(#[serde(deserialize_with = "lenient")] i64);
    Ok(Option::<Present>::deserialize(deserializer)?.map(|present| present.0))
}

/// Returns the value of a decimal string, or `None` if it is not one or is out of range.
pub fn parse(text: &str) -> Option<i64> {
    match Whole::of_string(text)? {
        Whole::In(number) => Some(number),
        Whole::Below | Whole::Above => None,
    }
}

/// A whole number, in the range of an `i64` or not.
enum Whole {
    In(i64),
    Below,
    Above,
}

impl Whole {
    /// Returns the value of `digits`, which has decimal digits only.
    fn of_digits(negative: bool, digits: &str) -> Self {
        let sign = if negative { "-" } else { "" };
        match format!("{sign}{digits}").parse() {
            Ok(number) => Self::In(number),
            Err(_) if negative => Self::Below,
            Err(_) => Self::Above,
        }
    }

    /// Returns the value of a JSON number, or `None` if it is not whole. Reads the text, because an `f64` would round. A whole
    /// number may have a decimal point or an exponent: `122.0`, `1e2`, `1.5e1`.
    fn of_json(number: &str) -> Option<Self> {
        const DIGITS_OF_I64: i64 = 19;
        let (negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, number),
        };
        let (mantissa, exponent) = match number.split_once(['e', 'E']) {
            // Of an exponent out of range only the sign matters: no body has that many digits.
            Some((mantissa, exponent)) => {
                let extreme = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
                (mantissa, exponent.parse().unwrap_or(extreme))
            }
            None => (number, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self::In(0));
        }
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
        // The number of digits before the point, after the exponent has moved it.
        let point = length(whole).saturating_add(exponent);
        let zeros = point.saturating_sub(length(digits));
        if zeros < 0 {
            return None;
        }
        let digits = digits.trim_start_matches('0');
        if length(digits).saturating_add(zeros) > DIGITS_OF_I64 {
            return Some(if negative { Self::Below } else { Self::Above });
        }
        let zeros = "0".repeat(usize::try_from(zeros).unwrap_or_default());
        Some(Self::of_digits(negative, &format!("{digits}{zeros}")))
    }

    /// Returns the value of a decimal string, or `None` if it is not one.
    fn of_string(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        whole.then(|| Self::of_digits(negative, digits))
    }
}

/// Works with JSON text only: other formats do not keep the text of a number.
impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a whole number, or a string of decimal digits";
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if let Ok(number) = json.parse() {
            return Ok(Self::In(number));
        }
        let invalid = |unexpected| de::Error::invalid_type(unexpected, &EXPECTED);
        match json.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Self::of_json(json)
                .ok_or_else(|| invalid(de::Unexpected::Other("a number with a fraction"))),
            Some(b'"') => {
                let text: Cow<'_, str> = serde_json::from_str(json).map_err(de::Error::custom)?;
                Self::of_string(&text)
                    .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &EXPECTED))
            }
            Some(b't' | b'f') => Err(invalid(de::Unexpected::Other("a boolean"))),
            Some(b'[') => Err(invalid(de::Unexpected::Seq)),
            Some(b'{') => Err(invalid(de::Unexpected::Map)),
            _ => Err(invalid(de::Unexpected::Other("null"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> Result<i64, serde_json::Error> {
        lenient(&mut serde_json::Deserializer::from_str(json))
    }

    fn read_saturating(json: &str) -> Result<i64, serde_json::Error> {
        saturating(&mut serde_json::Deserializer::from_str(json))
    }

    #[test]
    fn numbers_and_decimal_strings_are_the_same() {
        for (json, number) in
            [("100", 100), ("\"100\"", 100), ("-1", -1), ("\"-1\"", -1), (r#""\u0031""#, 1)]
        {
            assert_eq!(read(json).unwrap(), number);
        }
    }

    #[test]
    fn a_json_number_whose_value_is_whole_is_that_number() {
        for (json, number) in [
            ("122.0", 122),
            ("1e2", 100),
            ("1E+2", 100),
            ("1.50e1", 15),
            ("1200e-2", 12),
            ("0.001e3", 1),
            ("-0", 0),
            ("-0.0", 0),
            ("0e999999999999999999999", 0),
            ("-5.0", -5),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9223372036854775807.000", i64::MAX),
            ("-9.223372036854775808e18", i64::MIN),
        ] {
            assert_eq!(read(json).unwrap(), number, "{json}");
        }
    }

    #[test]
    fn a_fraction_or_another_type_is_refused_and_never_rounded() {
        for json in [
            "1.5",
            "1.0000000000000000001",
            "0.1",
            "1e-1",
            "1e-99999999999999999999",
            "9007199254740993.5",
            "\"1.5\"",
            "\"1.0\"",
            "\"1e3\"",
            "\"\"",
            "\" 1\"",
            "\"one\"",
            "\"１\"",
            "true",
            "[]",
            "{}",
            "null",
            "\"+1\"",
        ] {
            assert!(read(json).is_err(), "{json} was read");
            assert!(read_saturating(json).is_err(), "{json} was read");
        }
    }

    #[test]
    fn a_number_out_of_range_is_refused_or_becomes_the_bound() {
        for json in [
            "99999999999999999999",
            "\"99999999999999999999\"",
            "9223372036854775808",
            "9223372036854775808.0",
            "1e400",
            "1e99999999999999999999",
        ] {
            assert!(read(json).is_err());
            assert_eq!(read_saturating(json).unwrap(), i64::MAX);
            let below = if let Some(json) = json.strip_prefix('"') {
                format!("\"-{json}")
            } else {
                format!("-{json}0")
            };
            assert_eq!(read_saturating(&below).unwrap(), i64::MIN, "{below}");
        }
        assert_eq!(read("9223372036854775807").unwrap(), i64::MAX);
    }

    proptest! {
        /// Writes a whole number with its decimal point anywhere, and reads it back.
        #[test]
        fn a_number_is_the_same_wherever_its_point_is(number: i64, places in -25_i64..25) {
            let digits = number.unsigned_abs().to_string();
            let sign = if number < 0 { "-" } else { "" };
            let padding = "0".repeat(usize::try_from(places.max(0)).unwrap());
            let digits = format!("{padding}{digits}");
            let (whole, fraction) =
                digits.split_at(digits.len() - usize::try_from(places.max(0)).unwrap());
            // A leading zero is not JSON.
            let whole = whole.trim_start_matches('0');
            let whole = if whole.is_empty() { "0" } else { whole };
            let fraction = if fraction.is_empty() { "0" } else { fraction };
            let json = if places < 0 {
                format!("{sign}{whole}{}e{places}", "0".repeat(usize::try_from(-places).unwrap()))
            } else {
                format!("{sign}{whole}.{fraction}e{places}")
            };
            prop_assert_eq!(read(&json).unwrap(), number, "{}", json);
        }

        #[test]
        fn a_fraction_is_never_read(number: i32, fraction in "[0-9]{0,30}[1-9]") {
            let json = format!("{number}.{fraction}");
            prop_assert!(read_saturating(&json).is_err(), "{}", json);
        }
    }
}
