//! HTTP as every process serves it: one server loop, one set of layers, one way to refuse.

mod base;
mod body;
pub mod breaker;
mod conditions;
mod connection;
mod door;
mod extract;
pub mod hal;
mod head;
mod name;
mod observe;
pub mod peer;
mod query;
pub mod queue;
mod server;
mod socket;
mod surface;
mod unread;

pub(crate) use base::has_port;
pub use base::{Base, is_host, is_prefix};
pub(crate) use body::Memory;
pub use conditions::{Conditions, EntityTag, precondition_failed};
pub use connection::Client;
pub(crate) use extract::bad_query;
pub use extract::{Body, Id, Uuid};
pub use name::Name;
pub use query::Query;
pub(crate) use query::decoded;
pub use server::KEPT_ALIVE;
pub use surface::Surface;

pub(crate) use head::HeadLimits;
pub use observe::Facing;
pub(crate) use server::serve;

use crate::base::metrics::Metrics;
use crate::base::problem::Problem;
use crate::http::queue::Queue;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

/// Requests that a service works on at once; others wait for a place. More than one batch of the writer and all reading
/// connections can use, so that it is the queue of several gateways that fills first.
const IN_PROGRESS: usize = 1_024;

/// What the layers need to know of the process.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) ready: Ready,
    pub(crate) facing: Facing,
    pub(crate) bodies: Memory,
    pub(crate) surface: Arc<Surface>,
}

/// What readiness looks at besides the drain.
#[derive(Clone)]
pub(crate) enum Ready {
    /// A process with no database is ready when it runs.
    Always,
    /// A service is ready when its tables are there. Never Kafka: carts go on without it. Nor whether the database
    /// answers now: it is the same for all replicas, and a service without one ready replica answers nobody, where each
    /// of them says 503 with `Retry-After`.
    Database(crate::storage::Db),
}

impl Layers {
    fn is_ready(&self) -> bool {
        if self.draining.load(Ordering::Relaxed) {
            return false;
        }
        match &self.ready {
            Ready::Always => true,
            Ready::Database(db) => db.is_ready(),
        }
    }

    /// Whether the process is ready and its database answers.
    async fn is_healthy(&self) -> bool {
        self.is_ready()
            && match &self.ready {
                Ready::Always => true,
                Ready::Database(db) => db.answers().await,
            }
    }

    /// Returns what the public address serves: `routes` within their limits, and health.
    pub(crate) fn around(self, routes: Router) -> Router {
        let routes = match self.facing {
            Facing::Public => routes, // it has a queue for each service behind it
            Facing::Internal => {
                let queue = Queue::new(IN_PROGRESS, &self.metrics);
                routes.layer(axum::middleware::from_fn_with_state(queue, queued))
            }
        };
        self.observed(routes) // health waits in no queue
    }

    /// Returns what the management address serves: `routes`, metrics and health.
    pub(crate) fn management(mut self, surface: Surface, routes: Router) -> Router {
        self.surface = Arc::new(surface);
        self.facing = Facing::Internal;
        let metrics = Arc::clone(&self.metrics);
        self.observed(
            routes.route("/metrics", get(async move |headers: HeaderMap| metrics.text(&headers))),
        )
    }

    /// Adds health to `routes`, and the layers that every request goes through.
    fn observed(self, routes: Router) -> Router {
        let (health, readiness) = (self.clone(), self.clone());
        routes
            .route("/actuator/health", get(async move || health::answer(health.is_healthy().await)))
            .route(
                "/actuator/health/readiness",
                get(async move || health::answer(readiness.is_ready())),
            )
            .route("/actuator/health/liveness", get(async || health::answer(true)))
            // Together: to the router each layer is one more box to call through.
            .layer(
                ServiceBuilder::new()
                    .layer(axum::middleware::from_fn_with_state(self, observe::observe))
                    .layer(CatchPanicLayer::custom(panicked)),
            )
    }
}

/// Has a request wait for its place.
async fn queued(
    State(queue): State<Queue>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let _place = queue.enter().await?;
    Ok(next.run(request).await)
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
