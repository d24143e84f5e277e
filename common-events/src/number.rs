//! Whole numbers as people and the original system send them: `100` and `"100"` alike.
//!
//! httpie's `quantity=10` sends a string, and half of the original's events carry `gifticonId` as
//! one. What is not a whole number is an error and is never rounded.

use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// Reads a JSON number or a decimal string as an `i64`. Out of its range is an error.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Whole::deserialize(deserializer)? {
        Whole::In(number) => Ok(number),
        Whole::Below | Whole::Above => Err(de::Error::custom("the number is out of range")),
    }
}

/// Like [`lenient`], but what is out of the range of an `i64` becomes its nearest bound.
///
/// For fields whose own range is narrower and checked afterwards: "too large" is then answered in
/// the field's own terms.
pub fn saturating<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(match Whole::deserialize(deserializer)? {
        Whole::In(number) => number,
        Whole::Below => i64::MIN,
        Whole::Above => i64::MAX,
    })
}

/// [`saturating`] for a field that may be absent. `null` counts as absent.
pub fn saturating_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Present(#[serde(deserialize_with = "saturating")] i64);
    Ok(Option::<Present>::deserialize(deserializer)?.map(|present| present.0))
}

/// [`lenient`] for a field that may be absent. `null` counts as absent.
pub fn lenient_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Present(#[serde(deserialize_with = "lenient")] i64);
    Ok(Option::<Present>::deserialize(deserializer)?.map(|present| present.0))
}

/// Reads a decimal string, with the strictness of [`lenient`].
pub fn parse(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| text.parse().ok()).flatten()
}

enum Whole {
    In(i64),
    Below,
    Above,
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or a string of decimal digits")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
        Ok(Whole::In(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
        Ok(i64::try_from(number).map_or(Whole::Above, Whole::In))
    }

    /// JSON integers beyond 64 bits arrive here, as do fractions.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
        const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
        if number >= TWO_TO_63 {
            Ok(Whole::Above)
        } else if number < -TWO_TO_63 {
            Ok(Whole::Below)
        } else {
            Err(E::invalid_type(de::Unexpected::Float(number), &self))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Whole, E> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(E::invalid_value(de::Unexpected::Str(text), &self));
        }
        Ok(match text.parse() {
            Ok(number) => Whole::In(number),
            Err(_) if text.starts_with('-') => Whole::Below,
            Err(_) => Whole::Above,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<i64, serde_json::Error> {
        lenient(&mut serde_json::Deserializer::from_str(json))
    }

    fn read_saturating(json: &str) -> Result<i64, serde_json::Error> {
        saturating(&mut serde_json::Deserializer::from_str(json))
    }

    #[test]
    fn numbers_and_decimal_strings_are_the_same() {
        for (json, number) in [("100", 100), ("\"100\"", 100), ("-1", -1), ("\"-1\"", -1)] {
            assert_eq!(read(json).unwrap(), number);
        }
    }

    #[test]
    fn what_is_not_whole_is_refused_and_never_rounded() {
        for json in [
            "1.5", "\"1.5\"", "\"1e3\"", "\"\"", "\" 1\"", "\"one\"", "true", "[]", "null",
            "\"+1\"", "1e2",
        ] {
            assert!(read(json).is_err(), "{json} was read");
            assert!(read_saturating(json).is_err(), "{json} was read");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_or_becomes_the_bound() {
        for json in ["99999999999999999999", "\"99999999999999999999\"", "9223372036854775808"] {
            assert!(read(json).is_err());
            assert_eq!(read_saturating(json).unwrap(), i64::MAX);
        }
        assert_eq!(read_saturating("\"-99999999999999999999\"").unwrap(), i64::MIN);
        assert_eq!(read("9223372036854775807").unwrap(), i64::MAX);
    }
}
