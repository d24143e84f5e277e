//! The pages of the shop, for people with a browser.
//!
//! They are rendered here and work by plain forms (post, redirect, get); small scripts add what is live. This crate has no rights
//! and no data of its own: it asks the services by the routes that everybody has, with the headers of the visitor.

mod answer;
mod assets;
mod form;
mod format;
mod pages;
mod services;
mod visit;
mod visitor;
mod voucher;
mod words;

pub use pages::sign_in::Trouble;
pub use pages::{PATHS, WayBack};
pub use visitor::{Account, Visitor};

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower::ServiceExt;

/// The style of the pages.
pub const STYLE: &str = assets::STYLE;

/// The pages. Clones share everything.
#[derive(Clone, Debug)]
pub struct Web {
    /// The routes of the services, as the gateway serves them.
    services: Router,
    pages: Router,
}

impl Web {
    /// Returns the pages of the shop that `services` serves.
    pub fn new(services: Router) -> Self {
        let state = services::Services(services.clone());
        let pages = Router::new()
            .route("/shop", get(pages::shop::page))
            .route("/shop/carts", post(pages::shop::buy))
            .route("/shop/gifticons/{id}", get(pages::shop::card))
            .route("/shop/theme", post(pages::theme::change))
            .route("/me", get(pages::me::page))
            .route("/me/carts/{id}", get(pages::me::cart))
            .route("/me/cancel", post(pages::me::cancel))
            .route("/md", get(pages::md::page))
            .route("/md/gifticons", post(pages::md::register))
            .route("/md/gifticons/{id}", post(pages::md::change))
            .route("/live", get(pages::live::page))
            .route("/assets/{file}", get(assets::serve))
            .fallback(pages::trouble::missing)
            .with_state(state);
        Self { services, pages }
    }

    /// Returns the routes of the pages and of the services.
    pub fn routes(&self) -> Router {
        self.services.clone().merge(self.pages.clone())
    }

    /// Returns the page for somebody whose sign-in does not go on. It is tried again by a link, which leads `back`.
    pub async fn trouble(&self, request: &mut Parts, trouble: Trouble, back: WayBack) -> Response {
        pages::sign_in::trouble(&self.visit(request).await, trouble, back)
    }

    /// Returns the refusal of a request whose session is over, or cannot be checked: a page to a browser, a problem to everybody
    /// else.
    pub async fn refuse(&self, request: &mut Parts, trouble: Trouble) -> Response {
        let visit = self.visit(request).await;
        pages::sign_in::refusal(request, &visit, trouble)
    }

    /// Returns the page that leads somebody who signed out to `url`, where the issuer forgets them.
    pub async fn leave(&self, request: &mut Parts, url: &str) -> Response {
        pages::sign_in::leave(&self.visit(request).await, url)
    }

    /// Returns the refusal of a request that a page of another site sent with a visitor's session.
    pub async fn refuse_cross_site(&self, request: &mut Parts) -> Response {
        form::refused(&request.headers.clone(), &self.visit(request).await)
    }

    async fn visit(&self, request: &mut Parts) -> visit::Visit {
        let services = services::Services(self.services.clone());
        let Ok(visit) = visit::Visit::from_request_parts(request, &services).await;
        visit
    }

    /// Returns the page that a browser gets for `/`.
    pub async fn home(&self, mut request: Request) -> Response {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        match format!("/shop{query}").parse::<Uri>() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => return chassis::base::problem::Problem::internal(error).into_response(),
        }
        let Ok(response) = self.pages.clone().oneshot(request).await;
        response
    }
}
