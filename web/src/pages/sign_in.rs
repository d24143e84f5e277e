//! Pages about signing in and out, and for those who may not see another page.

use crate::answer;
use crate::pages::Frame;
use crate::pages::trouble::{TroublePage, page};
use crate::visit::Visit;
use crate::visitor::Visitor;
use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

/// Why a sign-in does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The browser has no such sign-in under way.
    Gone,
    /// The issuer, or somebody at its page, refused it.
    Denied,
    /// The issuer cannot be asked now.
    Away,
    /// Too many were tried from this address.
    TooMany,
}

/// The page that leads to the issuer's sign-out.
#[derive(Template)]
#[template(path = "leave.html")]
struct LeavePage {
    frame: Frame,
    url: String,
}

/// Returns the page about a sign-in that does not go on.
pub(crate) fn trouble(visit: &Visit, trouble: Trouble) -> Response {
    let t = visit.words();
    let (status, title, text) = match trouble {
        Trouble::Gone => (StatusCode::BAD_REQUEST, t.attempt_gone_title, t.attempt_gone_text),
        Trouble::Denied => (StatusCode::FORBIDDEN, t.sign_in_denied_title, t.sign_in_denied_text),
        Trouble::Away => {
            (StatusCode::SERVICE_UNAVAILABLE, t.sign_in_away_title, t.sign_in_away_text)
        }
        Trouble::TooMany => {
            (StatusCode::TOO_MANY_REQUESTS, t.sign_in_away_title, t.sign_in_many_text)
        }
    };
    let page = page(visit, "/shop", title, text);
    let href = visit.path("/sign-in");
    answer::page(status, visit, &TroublePage { href, link: t.sign_in, ..page })
}

/// Returns the page that leads to `url`. A page and no redirect: forms may lead to our own origin only.
pub(crate) fn leave(visit: &Visit, url: &str) -> Response {
    let frame = Frame::new(visit, "/shop", visit.words().signed_out_title, None);
    answer::page(StatusCode::OK, visit, &LeavePage { frame, url: url.to_owned() })
}

/// Returns what a visitor sees in place of the page at `path` if they may not see it.
pub(crate) fn barred(visit: &Visit, path: &'static str, may: bool) -> Option<Response> {
    if may {
        return None;
    }
    let t = visit.words();
    let href = visit.path(&format!("/sign-in?to={path}"));
    let (status, title, text) = match visit.visitor {
        Visitor::Account(_) => (StatusCode::FORBIDDEN, t.forbidden_title, t.forbidden_text),
        _ => (StatusCode::UNAUTHORIZED, t.sign_in_title, t.sign_in_text),
    };
    let page = page(visit, path, title, text);
    Some(answer::page(status, visit, &TroublePage { href, link: t.sign_in, ..page }))
}
