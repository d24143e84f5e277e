//! Pages about signing in and out, and for those who may not see another page.

use crate::answer;
use crate::pages::trouble::{TroublePage, page};
use crate::pages::{Frame, WayBack};
use crate::visit::Visit;
use crate::visitor::Visitor;
use askama::Template;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chassis::base::accept::prefers_html;
use chassis::base::i18n::Text;
use chassis::base::problem::{Problem, kind};

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
    /// The session of the browser is over.
    Over,
    /// The session of the browser cannot be checked now.
    Unchecked,
}

/// The page that leads to the issuer's sign-out.
#[derive(Template)]
#[template(path = "leave.html")]
struct LeavePage {
    frame: Frame,
    url: String,
}

/// Returns the page about a sign-in that does not go on. One that is begun anew leads `back`.
pub(crate) fn trouble(visit: &Visit, trouble: Trouble, back: WayBack) -> Response {
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
        Trouble::Over => (StatusCode::UNAUTHORIZED, t.session_over_title, t.session_over_text),
        Trouble::Unchecked => {
            (StatusCode::SERVICE_UNAVAILABLE, t.unchecked_title, t.unchecked_text)
        }
    };
    let page = page(visit, back, title, text);
    if trouble == Trouble::Unchecked {
        let href = visit.path("/shop");
        return answer::page(status, visit, &TroublePage { href, link: t.to_shop, ..page });
    }
    answer::page(status, visit, &page.signing_in())
}

/// Returns the refusal of a request whose session is over, or cannot be checked: a page to a browser, a problem to everybody else.
pub(crate) fn refusal(request: &Parts, visit: &Visit, why: Trouble) -> Response {
    if prefers_html(&request.headers) {
        return trouble(visit, why, WayBack::of_request(request, visit));
    }
    if why == Trouble::Over {
        let text = Text::fixed(
            "your session is over, and nothing was changed; sign in again",
            "로그인이 만료되어 아무것도 바꾸지 않았습니다. 다시 로그인해 주세요",
        );
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (challenge, Problem::new(kind::UNAUTHENTICATED, text)).into_response();
    }
    let text = Text::fixed(
        "your session cannot be checked now, and nothing was changed; try again shortly",
        "지금은 로그인을 확인할 수 없어 아무것도 바꾸지 않았습니다. 잠시 후 다시 시도해 주세요",
    );
    Problem::unavailable(text).into_response()
}

/// Returns the page that leads to `url`. A page and no redirect: forms may lead to our own origin only.
pub(crate) fn leave(visit: &Visit, url: &str) -> Response {
    let frame = Frame::new(visit, "/shop", visit.words().signed_out_title, None);
    answer::page(StatusCode::OK, visit, &LeavePage { frame, url: url.to_owned() })
}

/// Returns what a visitor sees in place of a page if they may not see it. Once they are signed in, they get `back` to it.
pub(crate) fn barred(visit: &Visit, back: WayBack, may: bool) -> Option<Response> {
    if may {
        return None;
    }
    let t = visit.words();
    let (status, title, text) = match visit.visitor {
        Visitor::Account(_) => (StatusCode::FORBIDDEN, t.forbidden_title, t.forbidden_text),
        _ => (StatusCode::UNAUTHORIZED, t.sign_in_title, t.sign_in_text),
    };
    Some(answer::page(status, visit, &page(visit, back, title, text).signing_in()))
}
