//! What a customer reads, in English and Korean.

use axum::http::{HeaderMap, header};
use garde::i18n;
use std::{borrow::Cow, fmt::Display};

/// A language that we have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// Where the client asks for nothing that we have.
    #[default]
    English,
    /// Where `Accept-Language` prefers it.
    Korean,
}

impl Lang {
    /// The language that the client prefers among ours.
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(accepted) = headers.get(header::ACCEPT_LANGUAGE) else { return Self::English };
        let accepted = accept_language::parse(accepted.to_str().unwrap_or_default());
        accepted
            .iter()
            .find_map(|tag| {
                match tag.split('-').next().unwrap_or_default().to_lowercase().as_str() {
                    "ko" => Some(Self::Korean),
                    "en" => Some(Self::English),
                    _ => None,
                }
            })
            .unwrap_or_default()
    }

    /// The tag for `Content-Language`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }
}

/// One message in each language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    en: Cow<'static, str>,
    ko: Cow<'static, str>,
}

impl Text {
    /// A message that never varies.
    pub const fn fixed(en: &'static str, ko: &'static str) -> Self {
        Self { en: Cow::Borrowed(en), ko: Cow::Borrowed(ko) }
    }

    /// A message with values in it.
    pub fn new(en: impl Into<Cow<'static, str>>, ko: impl Into<Cow<'static, str>>) -> Self {
        Self { en: en.into(), ko: ko.into() }
    }

    /// The message in `lang`.
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::English => &self.en,
            Lang::Korean => &self.ko,
        }
    }
}

/// garde's messages in Korean.
pub(crate) struct KoreanRules;

/// For the rules that name a form: the field says which form that is.
const WRONG_FORM: Cow<'static, str> = Cow::Borrowed("형식이 올바르지 않습니다");

impl i18n::I18n for KoreanRules {
    fn range_lower_than(&self, min: &dyn Display) -> Cow<'static, str> {
        format!("{min} 이상이어야 합니다").into()
    }
    fn range_greater_than(&self, max: &dyn Display) -> Cow<'static, str> {
        format!("{max} 이하여야 합니다").into()
    }
    fn length_lower_than(&self, min: usize) -> Cow<'static, str> {
        format!("{min}자 이상이어야 합니다").into()
    }
    fn length_greater_than(&self, max: usize) -> Cow<'static, str> {
        format!("{max}자 이하여야 합니다").into()
    }
    fn required_not_set(&self) -> Cow<'static, str> {
        "꼭 필요합니다".into()
    }
    fn credit_card_invalid(&self, _: i18n::InvalidCreditCard) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn pattern_no_match(&self, _: &dyn Display) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn contains_missing(&self, _: &dyn Display) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn url_invalid(&self, _: i18n::InvalidUrl) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn prefix_missing(&self, _: &dyn Display) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn suffix_missing(&self, _: &dyn Display) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn phone_number_invalid(&self, _: i18n::InvalidPhoneNumber) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn ip_invalid(&self, _: i18n::IpKind) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn matches_field_mismatch(&self, _: &dyn Display) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn email_invalid(&self, _: i18n::InvalidEmail) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn ascii_invalid(&self) -> Cow<'static, str> {
        WRONG_FORM
    }
    fn alphanumeric_invalid(&self) -> Cow<'static, str> {
        WRONG_FORM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accepted: &str) -> Lang {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, accepted.parse().unwrap());
        Lang::of(&headers)
    }

    #[test]
    fn the_client_s_preference_among_ours_counts() {
        assert_eq!(of("ko"), Lang::Korean);
        assert_eq!(of("ko-KR,ko;q=0.9,en-US;q=0.8"), Lang::Korean);
        assert_eq!(of("en-US,ko;q=0.9"), Lang::English);
        assert_eq!(of("en;q=0.1,ko;q=0.9"), Lang::Korean);
        assert_eq!(of("fr, ko;q=0.2"), Lang::Korean);
        assert_eq!(of("fr"), Lang::English);
        assert_eq!(of(""), Lang::English);
        assert_eq!(Lang::of(&HeaderMap::new()), Lang::English);
    }
}
