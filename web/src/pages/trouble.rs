//! A page of which nothing but its frame can be shown.

use crate::answer;
use crate::pages::{Frame, WayBack};
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

impl TroublePage {
    /// Returns the page with a link to sign in, and then to come back.
    pub(super) fn signing_in(self) -> Self {
        Self { href: self.frame.sign_in_href(), link: self.frame.t.sign_in, ..self }
    }
}

/// Returns a page that says what is wrong, with a link that leads `back`.
pub(crate) fn page(
    visit: &Visit,
    back: WayBack,
    title: &'static str,
    text: &'static str,
) -> TroublePage {
    let t = visit.words();
    let frame = Frame::new(visit, back.path, title, None).on_page(back.page);
    TroublePage { frame, title, text, href: visit.path(&back.to_string()), link: t.try_again }
}

/// Returns the 404 for an unknown path: a page to a browser. The server makes a problem of it for everybody else.
pub(crate) async fn missing(visit: Visit, headers: HeaderMap) -> Response {
    if !prefers_html(&headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let t = visit.words();
    let page = page(&visit, WayBack::SHOP, t.missing_title, t.missing_text);
    answer::page(StatusCode::NOT_FOUND, &visit, &TroublePage { link: t.to_shop, ..page })
}

/// Returns a page while a service refuses what it needs. It is tried again by a link, which leads `back`.
pub(crate) fn unavailable(visit: &Visit, back: WayBack, refusal: &Refusal) -> Response {
    let t = visit.words();
    if refusal.status == StatusCode::UNAUTHORIZED && visit.visitor == Visitor::Anybody {
        let page = page(visit, WayBack::SHOP, t.no_sign_in_title, t.no_sign_in_text);
        return answer::page(refusal.status, visit, &TroublePage { link: t.to_shop, ..page });
    }
    let status = if refusal.is_passing() { refusal.status } else { StatusCode::BAD_GATEWAY };
    answer::page(status, visit, &page(visit, back, t.trouble_title, t.trouble_text))
}
