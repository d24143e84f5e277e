//! Texts for customers, in English and Korean.

use crate::base::accept::ranges;
use axum::http::{HeaderMap, header};
use std::{borrow::Cow, cmp::Reverse};

/// A supported language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// The default, also for clients that prefer other languages.
    #[default]
    English,
    /// For clients whose `Accept-Language` prefers it.
    Korean,
}

impl Lang {
    /// Returns the supported language that the client prefers (RFC 9110, 12.5.4), and English without a preference. Malformed
    /// ranges are ignored.
    pub fn of(headers: &HeaderMap) -> Self {
        let ranges = ranges(headers, &header::ACCEPT_LANGUAGE);
        // In two-thousandths, to leave room for `UNNAMED_QUALITY`.
        let ranges: Vec<_> = ranges.map(|(tag, quality)| (tag, quality * 2)).collect();
        // Languages rank by quality, then by whether they are named, then by position.
        let rank = |language: &str| {
            let ranges = ranges.iter().enumerate();
            let named = ranges.clone().filter(|(_, (tag, _))| is_of(tag, language));
            let any = ranges.filter(|(_, (tag, _))| *tag == "*");
            let rank_of = |quality, named, position| (quality, named, Reverse(position));
            let named =
                named.map(|(position, (_, quality))| rank_of(*quality, true, position)).max();
            named.or_else(|| {
                any.map(|(position, (_, quality))| rank_of(*quality, false, position)).max()
            })
        };
        // A language that is not named ranks above one that is refused.
        let unnamed = (UNNAMED_QUALITY, false, Reverse(usize::MAX));
        let (korean, english) = (rank("ko").unwrap_or(unnamed), rank("en").unwrap_or(unnamed));
        if korean > english { Self::Korean } else { Self::English }
    }

    /// Returns the tag for `Content-Language`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }
}

/// The quality of a language that a client does not name: above 0, and below the least that it can name.
const UNNAMED_QUALITY: u16 = 1;

/// True if `tag`, such as `ko-KR`, belongs to `language`.
fn is_of(tag: &str, language: &str) -> bool {
    tag.split('-').next().is_some_and(|primary| primary.eq_ignore_ascii_case(language))
}

/// A message in each language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    en: Cow<'static, str>,
    ko: Cow<'static, str>,
}

impl Text {
    /// Returns a constant message.
    pub const fn fixed(en: &'static str, ko: &'static str) -> Self {
        Self { en: Cow::Borrowed(en), ko: Cow::Borrowed(ko) }
    }

    /// Returns a message that may contain values.
    pub fn new(en: impl Into<Cow<'static, str>>, ko: impl Into<Cow<'static, str>>) -> Self {
        Self { en: en.into(), ko: ko.into() }
    }

    /// Returns the message in `lang`.
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::English => &self.en,
            Lang::Korean => &self.ko,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(accepted: &str) -> Lang {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, accepted.parse().unwrap());
        Lang::of(&headers)
    }

    #[test]
    fn the_client_s_preference_among_ours_counts() {
        assert_eq!(preferred("ko"), Lang::Korean);
        assert_eq!(preferred("ko-KR,ko;q=0.9,en-US;q=0.8"), Lang::Korean);
        assert_eq!(preferred("en-US,ko;q=0.9"), Lang::English);
        assert_eq!(preferred("en;q=0.1,ko;q=0.9"), Lang::Korean);
        assert_eq!(preferred("fr, ko;q=0.2"), Lang::Korean);
        assert_eq!(preferred("fr"), Lang::English);
        assert_eq!(preferred(""), Lang::English);
        assert_eq!(Lang::of(&HeaderMap::new()), Lang::English);
    }

    #[test]
    fn a_quality_of_zero_refuses_a_language() {
        for english in [
            "ko;q=0",
            "ko;q=0.0, *",
            "*;q=1, ko;q=0",
            "ko ; Q = 0.000, en;q=0.001",
            "*",
            "*;q=0",
            "fr, *;q=0",
            "en;q=0, ko;q=0",
            "KO;q=0,EN",
            "kok",
            "ko;q=x",
            "ko;q=2",
            "ko;q=-1",
            "ko;q=1.001",
            "ko;q=0.1234",
            "ko;q=",
            ";q=1",
            ", ,",
            "en, ko",
        ] {
            assert_eq!(preferred(english), Lang::English, "{english}");
        }
        for korean in [
            "KO-kr",
            "*, en;q=0",
            "en;q=0",
            "*, ko",
            "ko, *",
            "ko;q=0.5, en;q=0.500",
            "ko-KR;q=1.000, en;q=0.999",
            "ko-KR, ko;q=0",
            "ko;level=1;q=0.7, en;q=0.6",
        ] {
            assert_eq!(preferred(korean), Lang::Korean, "{korean}");
        }
    }

    #[test]
    fn all_lines_of_the_header_count() {
        let mut headers = HeaderMap::new();
        for line in ["fr", "en;q=0.5", "ko;q=0.6"] {
            headers.append(header::ACCEPT_LANGUAGE, line.parse().unwrap());
        }
        assert_eq!(Lang::of(&headers), Lang::Korean);
    }
}
