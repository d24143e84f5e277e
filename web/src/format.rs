//! Amounts and times, as people write them.

use chassis::base::i18n::Lang;
use chrono::{DateTime, Datelike, FixedOffset, Timelike};

/// Asia/Seoul in seconds east of UTC. Korea has no daylight saving time, so no database of time zones is needed.
const SEOUL_OFFSET: i32 = 9 * 3_600;

/// Returns a number with a comma after each three digits.
pub(crate) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns an amount of won: `5,000원`, `₩5,000`.
pub(crate) fn won(amount: i64, lang: Lang) -> String {
    match lang {
        Lang::English => format!("₩{}", count(amount)),
        Lang::Korean => format!("{}원", count(amount)),
    }
}

/// Returns a time in Seoul: `11월 27일 13:05`, `27 Nov 13:05`. Text that is no time stays as it is.
pub(crate) fn time(rfc3339: &str, lang: Lang) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seoul = FixedOffset::east_opt(SEOUL_OFFSET);
    let time = DateTime::parse_from_rfc3339(rfc3339).ok().zip(seoul);
    let Some(time) = time.map(|(time, seoul)| time.with_timezone(&seoul)) else {
        return rfc3339.to_owned();
    };
    let (month, day, hour, minute) = (time.month(), time.day(), time.hour(), time.minute());
    match lang {
        Lang::English => {
            format!("{day} {} {hour:02}:{minute:02}", MONTHS[time.month0() as usize])
        }
        Lang::Korean => format!("{month}월 {day}일 {hour:02}:{minute:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn won_have_commas_and_their_sign() {
        assert_eq!(won(0, Lang::Korean), "0원");
        assert_eq!(won(5_000, Lang::Korean), "5,000원");
        assert_eq!(won(1_234_567, Lang::English), "₩1,234,567");
        assert_eq!(count(-12_345), "-12,345");
        assert_eq!(count(999), "999");
        assert_eq!(count(i64::MIN), "-9,223,372,036,854,775,808");
    }

    #[test]
    fn times_are_those_of_seoul() {
        let noon = "2026-11-27T04:05:59.123Z";
        assert_eq!(time(noon, Lang::Korean), "11월 27일 13:05");
        assert_eq!(time(noon, Lang::English), "27 Nov 13:05");
        assert_eq!(time("2026-12-31T15:00:00Z", Lang::Korean), "1월 1일 00:00");
        assert_eq!(time("soon", Lang::Korean), "soon");
    }
}
