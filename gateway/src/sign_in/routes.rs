//! `/sign-in` and `/sign-out`.

use super::attempt::Attempt;
use super::provider::{Failure, Tokens};
use super::recognise::{SIGN_OUT, Shared};
use super::session::{Change, Session};
use super::state::SignIn;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chassis::auth::Denied;
use chassis::base::config::Secret;
use chassis::http::{BaseUrl, Caller, Query};
use std::time::Duration;
use tokio::time::timeout;
use tracing::{info, warn};
use web::{Trouble, WayBack};

/// Where the issuer sends browsers back to. It has to know this address.
const DONE: &str = "/sign-in/done";
/// How long somebody who signs out waits for the issuer: for its address of sign-outs, and until it has revoked their refresh token,
/// which goes on then.
const SIGN_OUT_WAIT_MAX: Duration = Duration::from_secs(1);
/// Upper bound for what somebody is called, in characters.
const NAME_LENGTH_MAX: usize = 40;

/// Returns the routes.
pub(super) fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/sign-in", get(begin))
        .route(DONE, get(finish))
        .route(SIGN_OUT, post(sign_out))
        .with_state(shared)
}

/// Handles `GET /sign-in?to=PAGE`: leads to the issuer. `PAGE` is such as `/me` or `/shop?page=3`.
async fn begin(
    State(Shared { sign_in, web }): State<Shared>,
    caller: Caller,
    request: Request,
) -> Response {
    let (SignIn(parts), (mut head, _)) = (&sign_in, request.into_parts());
    let to = WayBack::named(Query::of(&head.uri).get(&["to"]));
    if !parts.attempts.count(caller) {
        return web.trouble(&mut head, Trouble::TooMany, to).await;
    }
    let redirect = BaseUrl::of(&head.headers).url(DONE);
    let Ok(question) = parts.provider.question(redirect.clone()).await else {
        return web.trouble(&mut head, Trouble::Away, to).await;
    };
    let mut response = redirected(&question.url);
    let attempt = Attempt::new(question, redirect, to.to_string());
    if !attempt.put(response.headers_mut(), &Attempt::place(&head.headers), &parts.seal) {
        warn!("a sign-in cannot begin: the address of the shop is too long");
        return web.trouble(&mut head, Trouble::Away, to).await;
    }
    response
}

/// Handles `GET /sign-in/done`: the answer of the issuer.
async fn finish(
    State(Shared { sign_in, web }): State<Shared>,
    caller: Caller,
    request: Request,
) -> Response {
    let (SignIn(parts), (mut head, _)) = (&sign_in, request.into_parts());
    let place = Attempt::place(&head.headers);
    let attempt = Attempt::of(&head.headers, &place, &parts.seal);
    let to = WayBack::named(attempt.as_ref().map(|attempt| &*attempt.to));
    if !parts.attempts.count(caller) {
        return web.trouble(&mut head, Trouble::TooMany, to).await;
    }
    let mut response = match sign_in.finish(attempt, &Query::of(&head.uri)).await {
        Ok(session) => {
            parts.attempts.succeeded.inc();
            let mut response = redirected(&BaseUrl::of(&head.headers).url(&to.to_string()));
            response.extensions_mut().insert(Change::Begins(session));
            response
        }
        Err(trouble) => {
            parts.attempts.failed.inc();
            web.trouble(&mut head, trouble, to).await
        }
    };
    place.remove(response.headers_mut());
    response
}

/// Handles `POST /sign-out`: forgets the session, has its refresh token revoked, and leads to where the issuer forgets it. Whatever
/// the issuer does, it is over here.
async fn sign_out(State(Shared { sign_in, web }): State<Shared>, request: Request) -> Response {
    let (SignIn(parts), (mut head, _)) = (&sign_in, request.into_parts());
    let shop = BaseUrl::of(&head.headers).url("/shop");
    let session = head.extensions.get::<Session>();
    if let Some(session) = session {
        parts.signed_out.put(session);
    }
    let hint = session.and_then(Session::id_token_hint);
    let url = timeout(SIGN_OUT_WAIT_MAX, parts.provider.sign_out_url(hint, &shop));
    let (url, ()) = tokio::join!(url, sign_in.revoke(session));
    let mut response = match url {
        Ok(Some(url)) => {
            head.extensions.insert(parts.stranger.clone());
            web.leave(&mut head, &url).await
        }
        Ok(None) | Err(_) => redirected(&shop),
    };
    response.extensions_mut().insert(Change::Ends);
    response
}

impl SignIn {
    /// Has the refresh token of a session revoked, so that a copy of it renews nothing.
    async fn revoke(&self, session: Option<&Session>) {
        if let Some(refresh) = session.and_then(|session| session.renewal.clone()) {
            // The log has what goes wrong.
            let _ = timeout(SIGN_OUT_WAIT_MAX, self.0.provider.revoke(refresh)).await;
        }
    }

    /// Returns the session of somebody whom the issuer sent back.
    async fn finish(&self, attempt: Option<Attempt>, answer: &Query) -> Result<Session, Trouble> {
        let parts = &self.0;
        let attempt = attempt.ok_or(Trouble::Gone)?;
        let issuer = answer.get(&["iss"]);
        // Of this browser (RFC 6749, section 10.12), and of this issuer (RFC 9207).
        if answer.get(&["state"]) != Some(&attempt.state)
            || issuer.is_some_and(|issuer| issuer != parts.provider.issuer)
        {
            return Err(Trouble::Gone);
        }
        let Some(code) = answer.get(&["code"]) else {
            info!("a sign-in was refused at the issuer");
            return Err(Trouble::Denied);
        };
        let Attempt { nonce, verifier, redirect, .. } = attempt;
        let tokens = parts.provider.redeem(code.to_owned(), verifier, redirect).await;
        let tokens = tokens.map_err(|failure| match failure {
            Failure::Refused => Trouble::Denied,
            Failure::Away => Trouble::Away,
        })?;
        self.session(tokens, &nonce).await
    }

    /// Returns the session of these tokens: both of them are of one person, and of this sign-in.
    async fn session(&self, tokens: Tokens, nonce: &str) -> Result<Session, Trouble> {
        let parts = &self.0;
        let trouble = |denied| match denied {
            Denied::IssuerAway | Denied::UnknownKey => Trouble::Away,
            Denied::InvalidToken => {
                warn!(
                    "the issuer gave a token that is not accepted: look at AUTH_AUDIENCE, OIDC_TOKEN_TYPE and OIDC_CLIENT_ID"
                );
                Trouble::Denied
            }
        };
        let Some(id_token) = tokens.id_token else {
            warn!("the issuer gave no ID token: is `openid` in OIDC_SCOPES?");
            return Err(Trouble::Denied);
        };
        let client = &parts.provider.client_id;
        let identity = parts.authenticator.identity(&id_token, client, nonce).await;
        let identity = identity.map_err(trouble)?;
        let principal = parts.authenticator.principal_of(&tokens.token).await.map_err(trouble)?;
        if *principal.owner() != identity.owner {
            warn!("the issuer gave the tokens of two people");
            return Err(Trouble::Denied);
        }
        let name =
            identity.name.chars().filter(|letter| !letter.is_control()).take(NAME_LENGTH_MAX);
        let session = Session {
            id: Some(Secret::random().reveal().to_owned()),
            token: tokens.token,
            renewal: tokens.refresh_token,
            id_token: Some(id_token),
            name: name.collect(),
        };
        if !session.fits() {
            warn!("the tokens of the issuer are too long for the cookies of a browser");
            return Err(Trouble::Denied);
        }
        Ok(session)
    }
}

/// Returns a redirect that no cache keeps.
fn redirected(url: &str) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 2] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let location = HeaderValue::try_from(url).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, HEADERS, [(header::LOCATION, location)]).into_response()
}
