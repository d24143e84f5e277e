//! The layers that every request goes through.

use crate::base::problem::Problem;
use crate::http::context::{Context, Exposure};
use crate::http::queue::Queue;
use crate::http::request_log::observe;
use crate::http::surface::Surface;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::any::Any;
use std::sync::Arc;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

/// Requests that a service works on at once; others wait for a place. More than one batch of the writer and all reading
/// connections can use, so that it is the queue of several gateways that fills first.
const IN_PROGRESS: usize = 1_024;

/// Returns what the public address serves: `routes` within their limits, and health.
pub(crate) fn public(context: Context, routes: Router) -> Router {
    let routes = match context.facing {
        Exposure::Public => routes, // it has a queue for each service behind it
        Exposure::Internal => {
            let queue = Queue::new(IN_PROGRESS, &context.metrics);
            routes.layer(axum::middleware::from_fn_with_state(queue, queued))
        }
    };
    observed(context, routes) // health waits in no queue
}

/// Returns what the management address serves: `routes`, metrics and health.
pub(crate) fn management(mut context: Context, surface: Surface, routes: Router) -> Router {
    context.surface = Arc::new(surface);
    context.facing = Exposure::Internal;
    let metrics = Arc::clone(&context.metrics);
    observed(
        context,
        routes.route("/metrics", get(async move |headers: HeaderMap| metrics.text(&headers))),
    )
}

/// Adds health to `routes`, and the layers that every request goes through.
fn observed(context: Context, routes: Router) -> Router {
    let (health, readiness) = (context.clone(), context.clone());
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
                .layer(axum::middleware::from_fn_with_state(context, observe))
                .layer(CatchPanicLayer::custom(panicked)),
        )
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
