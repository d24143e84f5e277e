//! Forms that a page sends.

use crate::answer;
use crate::pages::{WayBack, pager, trouble};
use crate::services::Services;
use crate::visit::Visit;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chassis::base::accept::prefers_html;
use chassis::base::i18n::Text;
use chassis::base::problem::{Problem, kind};
use chassis::http::{Query, is_same_origin};
use uuid::Uuid;

/// Upper bound for a form. The server reads no larger body anyway.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// A form that one of our pages sent, and the visit.
pub(crate) struct Form {
    pub(crate) visit: Visit,
    fields: Query,
}

impl Form {
    /// Returns what was typed into a field, without blanks around it.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.fields.get(&[name]).unwrap_or_default().trim()
    }

    /// Returns the whole number in a field. Commas may divide its digits.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        number(self.text(name))
    }

    /// Returns the number of the list's page that it was on.
    pub(crate) fn page(&self) -> i64 {
        pager::number(self.fields.get(&["page"]))
    }

    /// Returns true if its page was shown to another account than the one that sends it; nobody's is another one, too. A form that
    /// a script makes may leave out whose it is.
    pub(crate) fn is_of_another_account(&self) -> bool {
        let shown_to = self.fields.get(&["account"]);
        shown_to.is_some_and(|account| account.trim() != self.visit.visitor.key())
    }

    /// Returns the key of the form, or a new one if it has none that can be used.
    pub(crate) fn key(&self) -> String {
        let key = self.text("key");
        if Uuid::parse_str(key).is_ok() { key.to_owned() } else { new_key() }
    }
}

/// Returns a key for a form that is shown anew: what is sent twice under it is done once.
pub(crate) fn new_key() -> String {
    Uuid::new_v4().to_string()
}

/// Returns the whole number that a person typed.
fn number(text: &str) -> Option<i64> {
    let digits: String = text.chars().filter(|letter| *letter != ',').collect();
    digits.parse().ok()
}

impl FromRequest<Services> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, services: &Services) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Ok(visit) = Visit::from_request_parts(&mut parts, services).await;
        if !is_same_origin(&parts.headers, &visit.origin) {
            return Err(refused(&parts.headers, &visit));
        }
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            let detail = Text::fixed(
                "send the form as application/x-www-form-urlencoded",
                "양식을 application/x-www-form-urlencoded 로 보내 주세요",
            );
            return Err(Problem::new(kind::MEDIA_TYPE, detail).into_response());
        }
        let bytes = axum::body::to_bytes(body, FORM_BYTES_MAX).await.unwrap_or_default();
        let fields = std::str::from_utf8(&bytes).ok().and_then(Query::parse);
        let fields = fields.ok_or_else(|| {
            let detail = Text::fixed("the form is not UTF-8", "양식이 UTF-8이 아닙니다");
            Problem::new(kind::MALFORMED, detail).into_response()
        })?;
        Ok(Self { visit, fields })
    }
}

/// Returns the refusal of a form of another site.
pub(crate) fn refused(headers: &HeaderMap, visit: &Visit) -> Response {
    if prefers_html(headers) {
        let t = visit.words();
        return answer::page(
            StatusCode::FORBIDDEN,
            visit,
            &trouble::page(visit, WayBack::SHOP, t.cross_site_title, t.cross_site_text),
        );
    }
    let detail =
        Text::fixed("open the shop, and send its form", "쇼핑 페이지를 열어 다시 보내 주세요");
    Problem::new(kind::CROSS_SITE, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn people_write_numbers_with_commas() {
        assert_eq!(number("1,234,000"), Some(1_234_000));
        assert_eq!(number("-3"), Some(-3));
        assert_eq!((number(""), number("1.5"), number("x")), (None, None, None));
    }
}
