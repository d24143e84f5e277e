//! One visit of a page: the visitor's language and theme, and the services on the visitor's behalf.

use crate::services::{Client, Services};
use crate::visitor::Visitor;
use crate::words::Words;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chassis::base::i18n::Lang;
use chassis::http::{BaseUrl, Query};
use std::convert::Infallible;

/// The cookie that remembers the language.
pub(crate) const LANG_COOKIE: &str = "gifticon_lang";
/// The cookie that remembers the theme.
pub(crate) const THEME_COOKIE: &str = "gifticon_theme";

/// Light or dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the visitor's system has it.
    Auto,
    Light,
    Dark,
}

impl Theme {
    /// Returns the theme of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Auto, Self::Light, Self::Dark].into_iter().find(|theme| theme.name() == name)
    }

    /// Returns its name, in the cookie and in the page.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Returns the theme that the switch leads to.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Auto => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::Auto,
        }
    }
}

/// One visit of a page.
pub(crate) struct Visit {
    pub(crate) lang: Lang,
    pub(crate) theme: Theme,
    /// The language that the query asks for, to be remembered.
    pub(crate) chosen: Option<Lang>,
    /// Scheme, host and port as the visitor sees them.
    pub(crate) origin: String,
    /// The path in front of ours, where a proxy adds one; without a slash at its end.
    pub(crate) prefix: String,
    pub(crate) query: Query,
    pub(crate) visitor: Visitor,
    pub(crate) client: Client,
}

impl Visit {
    /// Returns the words in the visitor's language.
    pub(crate) fn words(&self) -> &'static Words {
        Words::of(self.lang)
    }

    /// Returns the path at which the visitor finds ours.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Returns a cookie that is remembered for a year. Scripts cannot read it.
    pub(crate) fn cookie(&self, name: &str, value: &str) -> String {
        let secure = if self.origin.starts_with("https:") { "; Secure" } else { "" };
        let path = self.path("/");
        format!("{name}={value}; Path={path}; Max-Age=31536000; SameSite=Lax; HttpOnly{secure}")
    }
}

impl FromRequestParts<Services> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Services,
    ) -> Result<Self, Infallible> {
        let headers = &parts.headers;
        let query = Query::of(&parts.uri);
        let chosen = query.get(&["lang"]).and_then(language);
        let remembered = || cookie(headers, LANG_COOKIE).and_then(language);
        let lang = chosen.or_else(remembered).unwrap_or_else(|| Lang::of(headers));
        let theme = cookie(headers, THEME_COOKIE).and_then(Theme::named).unwrap_or(Theme::Auto);
        let base = BaseUrl::of(headers);
        let (origin, prefix) = (base.origin().to_owned(), base.path(""));
        let client = Client::new(services, headers, lang);
        let visitor = parts.extensions.get().cloned().unwrap_or_default();
        Ok(Self { lang, theme, chosen, origin, prefix, query, visitor, client })
    }
}

/// Returns the language with this tag.
fn language(tag: &str) -> Option<Lang> {
    [Lang::English, Lang::Korean].into_iter().find(|lang| lang.tag() == tag)
}

/// Returns the value of a cookie. Another one that is not UTF-8 is passed over.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut pairs = pairs.filter_map(|pair| str::from_utf8(pair).ok()?.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "x_lang=en; lang=ko ;theme=dark".parse().unwrap());
        headers.append(header::COOKIE, "more=1".parse().unwrap());
        assert_eq!(cookie(&headers, "lang"), Some("ko"));
        assert_eq!(cookie(&headers, "more"), Some("1"));
        assert_eq!(cookie(&headers, "ang"), None);
    }

    #[test]
    fn a_cookie_of_any_bytes_hides_no_other() {
        let line = header::HeaderValue::from_bytes(b"a=\xe9; lang=ko; b=\xea\xb0\x80").unwrap();
        let headers = HeaderMap::from_iter([(header::COOKIE, line)]);
        assert_eq!(cookie(&headers, "lang"), Some("ko"));
    }
}
