//! A page of which nothing but its frame can be shown.

use crate::answer;
use crate::pages::Frame;
use crate::services::Refusal;
use crate::visit::Visit;
use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

#[derive(Template)]
#[template(path = "trouble.html")]
pub(crate) struct TroublePage {
    frame: Frame,
    title: &'static str,
    text: &'static str,
    href: String,
    link: &'static str,
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

/// Returns the page at `path` while a service refuses what it needs.
pub(crate) fn unavailable(visit: &Visit, path: &'static str, refusal: &Refusal) -> Response {
    let t = visit.words();
    let status = if refusal.is_passing() { refusal.status } else { StatusCode::BAD_GATEWAY };
    answer::page(status, visit, &page(visit, path, t.trouble_title, t.trouble_text))
}
