//! The layer that knows who is signed in.

use super::cookies;
use super::provider::Failure;
use super::session::{Change, Session};
use super::state::SignIn;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chassis::auth::{Denied, Principal, Role, base64url};
use chassis::base::i18n::Text;
use chassis::base::problem::{Problem, kind};
use chassis::http::{BaseUrl, Query, is_same_origin};
use sha2::{Digest, Sha256};
use web::{Account, Trouble, Visitor, Web};

/// What the layer and the routes of signing in need.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) sign_in: SignIn,
    pub(super) web: Web,
}

/// The path of the form that signs out.
pub(super) const SIGN_OUT: &str = "/sign-out";
/// The paths at which somebody whose session is over changes something all the same: nothing there belongs to anybody else.
const FOR_EVERYBODY: [&str; 2] = [SIGN_OUT, "/shop/theme"];

/// The session of a request, after a look at its token.
enum Found {
    /// There is none.
    Nothing,
    /// It is not good any more.
    Over,
    /// It cannot be opened: its key is gone, or is that of a replica that has another `SESSION_SECRET` already. It stays.
    Sealed,
    /// The issuer would have to be asked, and is away, or its key is not known yet. The session stays, with new tokens if it has some.
    Unknown {
        renewed: Option<Session>,
    },
    Known {
        session: Session,
        principal: Principal,
        is_renewed: bool,
    },
}

impl Found {
    /// Returns why nothing is changed for who sent the session. They would do as a guest, without a word, what they mean to do as
    /// themselves.
    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Over | Self::Sealed => Some(Trouble::Over),
            Self::Unknown { .. } => Some(Trouble::Unchecked),
            Self::Nothing | Self::Known { .. } => None,
        }
    }
}

/// Puts the token of a session into the request, and who that is into its extensions. Who sends a token has no session.
pub(super) async fn recognise(
    State(shared): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let SignIn(parts) = &shared.sign_in;
    let place = Session::place(request.headers());
    let has_session = place.is_taken() && !request.headers().contains_key(header::AUTHORIZATION);
    let session = Session::of(request.headers(), &place, &parts.seal).filter(|_| has_session);
    let changes = changes_something(request.method());
    if session.is_some() && changes && !is_of_our_page(request.headers()) {
        let (mut head, _) = request.into_parts();
        head.extensions.insert(parts.stranger.clone());
        return shared.web.refuse_cross_site(&mut head).await;
    }
    let found = match session {
        Some(session) if changes && request.uri().path() == SIGN_OUT => {
            request.extensions_mut().insert(session); // it ends, whatever its token is
            Found::Nothing
        }
        Some(session) => Box::pin(shared.sign_in.look_at(session)).await, // few requests have one
        None if has_session => Found::Sealed,
        None => Found::Nothing,
    };
    let is_for_everybody = FOR_EVERYBODY.contains(&request.uri().path());
    let why = found.trouble();
    let trouble = why.filter(|_| changes && !is_for_everybody);
    cookies::hide(request.headers_mut(), &place);
    let (visitor, change) = match found {
        Found::Known { session, principal, is_renewed } => {
            let visitor = Visitor::Account(account(&session, &principal));
            let bearer = HeaderValue::try_from(format!("Bearer {}", session.token));
            if let Ok(mut bearer) = bearer {
                bearer.set_sensitive(true);
                request.headers_mut().insert(header::AUTHORIZATION, bearer);
            }
            (visitor, is_renewed.then_some(Change::Begins(session)))
        }
        Found::Over => (parts.stranger.clone(), Some(Change::Ends)),
        Found::Unknown { renewed } => (parts.stranger.clone(), renewed.map(Change::Begins)),
        Found::Nothing | Found::Sealed => (parts.stranger.clone(), None),
    };
    let is_of_another = shown_to(&request).is_some_and(|account| account != visitor.key());
    let unchecked = why.filter(|why| is_of_another && *why == Trouble::Unchecked);
    request.extensions_mut().insert(visitor);
    let mut response = match trouble.or(unchecked) {
        Some(trouble) => shared.web.refuse(&mut request.into_parts().0, trouble).await,
        None if is_of_another => another_account().into_response(),
        None => next.run(request).await,
    };
    let change = response.extensions_mut().remove().or(change);
    let headers = response.headers_mut();
    if has_session {
        // The response is this person's, and a cache does not see the token.
        let private = HeaderValue::from_static("private, no-cache");
        headers.entry(header::CACHE_CONTROL).or_insert(private);
    }
    match change {
        Some(Change::Begins(session)) if parts.signed_out.has(&session) => {
            Change::Ends.write(headers, &place, &parts.seal);
        }
        Some(change) => change.write(headers, &place, &parts.seal),
        None => {}
    }
    response
}

impl SignIn {
    /// Looks at the token of a session, and renews it if it expires soon or is refused.
    async fn look_at(&self, session: Session) -> Found {
        let parts = &self.0;
        if parts.signed_out.has(&session) {
            return Found::Over;
        }
        let (mut is_good, renews) = (!session.has_expired(), session.renewal.is_some());
        if !(renews && session.expires_soon()) {
            match parts.authenticator.principal_of(&session.token).await {
                Ok(principal) => return Found::Known { session, principal, is_renewed: false },
                Err(Denied::IssuerAway) => return Found::Unknown { renewed: None },
                Err(Denied::UnknownKey) if !renews => return Found::Unknown { renewed: None },
                Err(Denied::InvalidToken | Denied::UnknownKey) => is_good = false,
            }
        }
        let renewed = parts.renewals.renew(&parts.provider, &session, is_good).await;
        let (session, is_renewed) = match renewed {
            Ok(session) => (session, true),
            Err(Failure::Refused) => return Found::Over,
            Err(Failure::Away) => (session, false), // it may be good for some seconds more
        };
        match parts.authenticator.principal_of(&session.token).await {
            Ok(principal) => Found::Known { session, principal, is_renewed },
            Err(Denied::InvalidToken) if is_renewed => Found::Over,
            Err(_) => Found::Unknown { renewed: is_renewed.then_some(session) },
        }
    }
}

fn account(session: &Session, principal: &Principal) -> Account {
    Account {
        key: account_key(principal),
        name: session.name.clone(),
        is_customer: principal.has(Role::Customer),
        is_md: principal.has(Role::Md),
    }
}

/// Returns a short hash of an owner: two accounts in one browser have two, and a page does not show whose it is.
fn account_key(principal: &Principal) -> String {
    base64url(&Sha256::digest(principal.owner().as_str())[..12])
}

/// Returns the account that one of our pages was shown to, which asks for a part of itself or for its stream. Pages of other sites
/// do not learn who is signed in.
fn shown_to(request: &Request) -> Option<String> {
    let is_ours = is_same_origin(request.headers(), BaseUrl::of(request.headers()).origin());
    let account = Query::of(request.uri()).get(&["for-account"])?.to_owned();
    is_ours.then_some(account)
}

/// Returns the refusal of what a page asks for that was shown to an account which is not signed in any more: it gets nothing of
/// another one that signed in since, in another tab, nor of a guest.
fn another_account() -> Problem {
    let text = Text::fixed(
        "the account that this page was shown to is not signed in; load the page again",
        "이 화면을 연 계정이 로그인되어 있지 않습니다. 새로고침해 주세요",
    );
    Problem::new(kind::PRECONDITION, text)
}

fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Returns true if a page of ours sent the request. Every browser says so of requests that change something; one that does not
/// is refused, because the session is sent along whoever made the page.
fn is_of_our_page(headers: &HeaderMap) -> bool {
    let says = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
    says && is_same_origin(headers, BaseUrl::of(headers).origin())
}
