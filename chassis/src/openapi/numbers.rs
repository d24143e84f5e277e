//! Whole numbers of requests, which come as JSON numbers or as strings of decimal digits.

use std::ops::RangeInclusive;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};

/// Returns the schema of a whole number within `bounds`, in both spellings: `100` and `"100"`.
pub(super) fn whole_number(bounds: RangeInclusive<i64>) -> Schema {
    let (min, max) = bounds.into_inner();
    let number =
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(min)).maximum(Some(max));
    let digits = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern(min, max)));
    OneOfBuilder::new().item(number).item(digits).build().into()
}

/// Returns the regular expression for the decimal strings from `min`, at most 1, to `max`, at least 1. JSON Schema has no other
/// way to bound them.
fn pattern(min: i64, max: i64) -> String {
    assert!(min <= 1 && max >= 1, "{min} to {max} is not supported");
    let positive = format!("0*{}", up_to(max.unsigned_abs(), min <= 0));
    match min {
        1 => format!("^{positive}$"),
        0 => format!("^(?:{positive}|-0+)$"),
        _ => format!("^(?:{positive}|-0*{})$", up_to(min.unsigned_abs(), true)),
    }
}

/// Returns the regular expression for numbers without leading zeros from 1, or from 0 if `zero`, to `max`.
fn up_to(max: u64, zero: bool) -> String {
    let digits = max.to_string();
    let any = |count: usize| match count {
        0 => String::new(),
        count => format!("[0-9]{{{count}}}"),
    };
    let mut ways = vec![];
    if zero {
        ways.push("0".to_owned());
    }
    if digits.len() > 1 {
        ways.push(format!("[1-9][0-9]{{0,{}}}", digits.len() - 2)); // those with fewer digits
    }
    for (at, digit) in digits.bytes().enumerate() {
        // As many digits: the same as those of `max` up to here, then a lower one.
        let lowest = if at == 0 { b'1' } else { b'0' };
        if digit > lowest {
            let (lowest, highest) = (char::from(lowest), char::from(digit - 1));
            let rest = any(digits.len() - 1 - at);
            ways.push(format!("{}[{lowest}-{highest}]{rest}", &digits[..at]));
        }
    }
    ways.push(digits);
    format!("(?:{})", ways.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_are_bounded_by_a_pattern() {
        assert_eq!(pattern(1, 7), "^0*(?:[1-6]|7)$");
        assert_eq!(pattern(0, 21), "^(?:0*(?:0|[1-9][0-9]{0,0}|[1-1][0-9]{1}|2[0-0]|21)|-0+)$");
        assert_eq!(pattern(-2, 3), "^(?:0*(?:0|[1-2]|3)|-0*(?:0|[1-1]|2))$");
    }
}
