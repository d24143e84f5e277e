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
mod voucher;
mod words;

pub use form::CROSS_SITE;
pub use pages::PATHS;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chassis::base::problem::Kind;
use tower::ServiceExt;

/// The problems of the pages. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] = &[CROSS_SITE];

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
