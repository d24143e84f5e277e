//! Display names.

use crate::base::i18n::Text;
use serde::{Deserialize, Deserializer};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_public_assigned;

/// Upper bound for the characters of a name.
const MAX_CHARS: usize = 80;

static LENGTH: Text = Text::fixed("has 1 to 80 characters", "1자 이상 80자 이하여야 합니다");
static INVISIBLE: Text =
    Text::fixed("has at least one visible character", "눈에 보이는 문자가 하나 이상 필요합니다");
static CONTROL: Text = Text::fixed(
    "has no control characters, such as line breaks and tabs",
    "줄 바꿈이나 탭 같은 제어 문자는 쓸 수 없습니다",
);
static REORDERED: Text = Text::fixed(
    "has no line breaks and no characters that change the direction of text (U+2028, U+2029, U+202A to U+202E, U+2066 to U+2069)",
    "줄 바꿈 문자나 글 방향을 바꾸는 문자(U+2028, U+2029, U+202A~U+202E, U+2066~U+2069)는 쓸 수 없습니다",
);

/// A name of 1 to 80 characters in Unicode normalisation form NFC, without surrounding blanks. At least one character is visible.
/// None is a control character, such as NUL, which Postgres cannot store. None changes the direction of the text around the
/// name.
///
/// Deserialising accepts every string. [`Fields::name`](crate::http::Fields::name) then rejects an invalid one with 422.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Returns the name as it is stored.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Returns the rule that the name breaks, if it breaks one.
    pub(super) fn fault(&self) -> Option<&'static Text> {
        if self.0.chars().any(char::is_control) {
            Some(&CONTROL)
        } else if !(1..=MAX_CHARS).contains(&self.0.chars().count()) {
            Some(&LENGTH)
        } else if self.0.chars().any(changes_direction) {
            Some(&REORDERED)
        } else if self.0.chars().all(is_invisible) {
            Some(&INVISIBLE)
        } else {
            None
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text: String = text.nfc().collect();
        let is_blank = |c: char| c.is_whitespace() && !c.is_control();
        Ok(Self(text.trim_matches(is_blank).to_owned()))
    }
}

/// Returns true for line separators, and for controls that embed, override or isolate a direction. Direction marks (U+200E,
/// U+200F, U+061C) are allowed: names in right-to-left scripts need them.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns true for a character that shows nothing: blanks, U+2800, annotation marks, fillers, layout controls of hieroglyphs,
/// the Unicode property Default_Ignorable_Code_Point, and unassigned code points.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || !is_public_assigned(c) && !is_private(c)
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            | '\u{16fe4}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns true for a private use character, which a font may show.
fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{ffffd}' | '\u{100000}'..='\u{10fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        serde_json::from_value(text.into()).unwrap()
    }

    #[test]
    fn a_name_is_counted_and_stored_in_nfc() {
        let syllables = "한글".repeat(40);
        let decomposed: String = syllables.nfd().collect();
        assert_eq!(decomposed.chars().count(), 240);
        let read = name(&decomposed);
        assert_eq!((read.fault(), read.into_string()), (None, syllables));
        assert_eq!(name(&"커".repeat(81)).fault(), Some(&LENGTH));
        assert_eq!(name("\u{3000} 라떼 ").into_string(), "라떼");
    }

    #[test]
    fn a_name_needs_a_visible_character() {
        for text in [
            "\u{200b}",
            "\u{3164}",
            "\u{2800}",
            "\u{feff}",
            "\u{ad}",
            "\u{200d}\u{fe0f}",
            "\u{e0041}",
            "\u{115f}\u{1160}",
            "\u{ffa0}",
            "\u{34f}",
            "\u{2060}\u{2800}\u{200b}",
            "\u{1d159}",
            "\u{16fe4}",
            "\u{fffe}",
            "\u{ffff}",
            "\u{fdd0}\u{fdef}",
            "\u{10ffff}",
            "\u{378}",
            "\u{e0fff}",
            "\u{50000}",
            "\u{13430}",
        ] {
            assert_eq!(name(text).fault(), Some(&INVISIBLE), "{text:?}");
        }
        for text in [
            "x",
            "커",
            "☕",
            "👩\u{200d}🍳",
            "1️⃣",
            "\u{5e9}\u{200f}",
            "ㄱ",
            "-",
            "\u{200b}x",
            "\u{e000}",
            "\u{20000}",
        ] {
            assert_eq!(name(text).fault(), None, "{text:?}");
        }
        for text in ["", " ", "\u{3000}", "\u{2003}"] {
            assert_eq!(name(text).fault(), Some(&LENGTH), "{text:?}");
        }
    }

    #[test]
    fn a_name_has_no_direction_controls_and_no_line_breaks() {
        for text in ["\u{202e}", "Latte\u{202e}ettaL", "a\u{2066}b", "a\u{2028}b"] {
            assert_eq!(name(text).fault(), Some(&REORDERED), "{text:?}");
        }
        for text in ["a\0b", "a\nb", "\n", "a\t", "\u{1b}[31m", "\u{85}", "\u{9f}x"] {
            assert_eq!(name(text).fault(), Some(&CONTROL), "{text:?}");
        }
    }
}
