//! Signing in on the pages: the gateway is a client of the issuer (OpenID Connect, authorization code with PKCE).
//!
//! A session is the tokens of the issuer, sealed in cookies. No session is kept here, so that every replica knows every one.
//! Of a request with a session, the services see the token, as if the client had sent it.

mod attempt;
mod attempts;
mod config;
mod cookies;
mod discovered;
mod provider;
mod recognise;
mod renewals;
mod routes;
mod session;
mod signed_out;
mod state;

pub use config::{SessionToken, SignInConfig};
pub(crate) use state::SignIn;

use axum::Router;
use axum::middleware::from_fn_with_state;
use recognise::{Shared, recognise};
use web::Web;

/// Returns `routes` for requests whose session is known, and those of signing in and out.
pub(crate) fn around(sign_in: SignIn, web: &Web, routes: Router) -> Router {
    let shared = Shared { sign_in, web: web.clone() };
    let recognised = from_fn_with_state(shared.clone(), recognise);
    routes.merge(routes::routes(shared)).layer(recognised)
}
