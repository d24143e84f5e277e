//! HTTP as every process serves it: one server loop, one set of layers, one way to refuse.

mod base;
mod body;
mod connection;
mod door;
mod extract;
mod head;
mod observe;
mod server;
mod socket;

pub use base::{Base, is_host, is_prefix};
pub use connection::Client;
pub(crate) use extract::bad_query;
pub use extract::{Body, Id, Query, Uuid, trimmed, trimmed_option};
pub use server::KEPT_ALIVE;

/// What the failure of a forwarded body means to the client who sent it; none where it is not the
/// body that failed.
pub use body::{WHOLE_BODY, refusal as body_refusal};
pub use observe::Facing;
pub(crate) use server::serve;

use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::writer::Unavailable;
use axum::error_handling::HandleErrorLayer;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{BoxError, Router};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower_http::catch_panic::CatchPanicLayer;

/// What the layers need to know of the process.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) ready: Ready,
    pub(crate) facing: Facing,
}

/// What readiness looks at besides the drain.
#[derive(Clone)]
pub(crate) enum Ready {
    /// A process with no database is ready when it runs.
    Always,
    /// A service is ready when its database answers. Never Kafka: carts go on without it.
    Database(crate::db::Db),
}

impl Layers {
    async fn is_ready(&self) -> bool {
        if self.draining.load(Ordering::Relaxed) {
            return false;
        }
        match &self.ready {
            Ready::Always => true,
            Ready::Database(db) => db.answers().await,
        }
    }

    /// Puts the layers around the routes of a process, and adds health and metrics.
    pub(crate) fn around(self, routes: Router) -> Router {
        let (health, readiness) = (self.clone(), self.clone());
        let (metrics, shed) = (Arc::clone(&self.metrics), Arc::clone(&self.metrics));
        let at_once = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async move |_: BoxError| {
                shed.shed_total.inc();
                Problem::from(Unavailable::Overloaded)
            }))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(self.facing.at_once()));
        routes
            .layer(at_once) // before health and metrics, which answer however much there is to do
            .route("/actuator/health", get(async move || health::answer(health.is_ready().await)))
            .route(
                "/actuator/health/readiness",
                get(async move || health::answer(readiness.is_ready().await)),
            )
            .route("/actuator/health/liveness", get(async || health::answer(true)))
            .route("/metrics", get(async move || metrics.text()))
            // Together: to the router each layer is one more box to call through.
            .layer(
                ServiceBuilder::new()
                    .layer(axum::middleware::from_fn_with_state(self, observe::observe))
                    .layer(CatchPanicLayer::custom(panicked)),
            )
    }
}

#[expect(clippy::needless_pass_by_value, reason = "that is how the layer gives it")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
    let said = said.unwrap_or("no message").to_owned();
    Problem::internal(anyhow::anyhow!("a handler panicked: {said}")).into_response()
}

mod health {
    use axum::Json;
    use axum::http::StatusCode;
    use serde_json::{Value, json};

    pub(super) fn answer(up: bool) -> (StatusCode, Json<Value>) {
        let (code, status) =
            if up { (StatusCode::OK, "UP") } else { (StatusCode::SERVICE_UNAVAILABLE, "DOWN") };
        (code, Json(json!({ "status": status })))
    }
}
