//! A page of which nothing but its frame can be shown.

use crate::answer;
use crate::pages::Frame;
use crate::services::Refusal;
use crate::visit::Visit;
use crate::visitor::Visitor;
use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chassis::base::accept::prefers_html;

#[derive(Template)]
#[template(path = "trouble.html")]
pub(crate) struct TroublePage {
    pub(super) frame: Frame,
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) href: String,
    pub(super) link: &'static str,
}

/// Returns a page that says what is wrong, with a link to `path`.
pub(crate) fn page(
    visit: &Visit,
    path: &'static str,
    title: &'static str,
    text: &'static str,
) -> TroublePage {
    let t = visit.words();
    let frame = Frame::new(visit, path, title, None);
    TroublePage { frame, title, text, href: visit.path(path), link: t.try_again }
}

/// Returns the 404 for an unknown path: a page to a browser. The server makes a problem of it for everybody else.
pub(crate) async fn missing(visit: Visit, headers: HeaderMap) -> Response {
    if !prefers_html(&headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let t = visit.words();
    let page = page(&visit, "/shop", t.missing_title, t.missing_text);
    answer::page(StatusCode::NOT_FOUND, &visit, &TroublePage { link: t.to_shop, ..page })
}

/// Returns the page at `path` while a service refuses what it needs.
pub(crate) fn unavailable(visit: &Visit, path: &'static str, refusal: &Refusal) -> Response {
    let t = visit.words();
    if refusal.status == StatusCode::UNAUTHORIZED && visit.visitor == Visitor::Anybody {
        let page = page(visit, "/shop", t.no_sign_in_title, t.no_sign_in_text);
        return answer::page(refusal.status, visit, &TroublePage { link: t.to_shop, ..page });
    }
    let status = if refusal.is_passing() { refusal.status } else { StatusCode::BAD_GATEWAY };
    answer::page(status, visit, &page(visit, path, t.trouble_title, t.trouble_text))
}
