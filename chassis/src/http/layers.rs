//! The layers around the routes of a server.

use crate::base::problem::Problem;
use crate::base::span::Tracer;
use crate::http::access::guarded;
use crate::http::context::{Context, Exposure};
use crate::http::queue::Queue;
use crate::http::request_log::observe;
use crate::http::surface::Surface;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::any::Any;
use std::sync::Arc;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

/// Requests in progress at a service; others wait in a queue. More than a batch of the writer and all read connections can use,
/// so that requests wait at the gateways first.
const IN_PROGRESS_MAX: usize = 1_024;

/// Returns the router of the public address: `routes`, behind a queue, and health.
pub(crate) fn public(context: Context, routes: Router) -> Router {
    let routes = match context.exposure {
        Exposure::Public => gated(&context, routes), // the gateway has a queue for each service
        Exposure::Internal => {
            let queue = Queue::new(IN_PROGRESS_MAX, &context.metrics);
            let metrics = Arc::clone(&context.metrics);
            let figures = get(async move || Json(metrics.figures()));
            let routes = routes.layer(axum::middleware::from_fn_with_state(queue, queued));
            // Neither the gateway's look nor health waits in the queue.
            gated(&context, routes).route("/figures", figures)
        }
    };
    with_health(context, routes)
}

/// Returns the routes behind their gate. Who may not come in waits in no queue.
fn gated(context: &Context, routes: Router) -> Router {
    match &context.gate {
        Some(gate) => routes.layer(axum::middleware::from_fn_with_state(gate.clone(), guarded)),
        None => routes,
    }
}

/// Returns the router of the management address: `routes`, metrics and health.
pub(crate) fn management(mut context: Context, surface: Surface, routes: Router) -> Router {
    context.surface = Arc::new(surface);
    context.exposure = Exposure::Internal;
    context.tracer = Tracer::default(); // a scrape of the metrics is no part of a purchase
    let metrics = Arc::clone(&context.metrics);
    let routes = gated(&context, routes);
    with_health(
        context,
        routes.route("/metrics", get(async move |headers: HeaderMap| metrics.text(&headers))),
    )
}

/// Adds the health routes, and the layers that every request goes through.
fn with_health(context: Context, routes: Router) -> Router {
    let (health, readiness) = (context.clone(), context.clone());
    routes
        .route("/actuator/health", get(async move || health::response(health.is_healthy().await)))
        .route(
            "/actuator/health/readiness",
            get(async move || health::response(readiness.is_ready())),
        )
        .route("/actuator/health/liveness", get(async || health::response(true)))
        // In one `ServiceBuilder`, because the router boxes each layer that it gets.
        .layer(
            ServiceBuilder::new()
                .layer(axum::middleware::from_fn_with_state(Arc::new(context), observe))
                .layer(CatchPanicLayer::custom(panicked)),
        )
}

/// Lets a request wait in the queue.
async fn queued(
    State(queue): State<Queue>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let _permit = queue.enter().await?;
    Ok(next.run(request).await)
}

/// Logs the panic of a handler, and returns 500.
#[expect(clippy::needless_pass_by_value, reason = "the layer defines this signature")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    let message = message.unwrap_or("no message").to_owned();
    Problem::internal(anyhow::anyhow!("a handler panicked: {message}")).into_response()
}

mod health {
    use axum::Json;
    use axum::http::StatusCode;
    use serde_json::{Value, json};

    pub(super) fn response(up: bool) -> (StatusCode, Json<Value>) {
        let (code, status) =
            if up { (StatusCode::OK, "UP") } else { (StatusCode::SERVICE_UNAVAILABLE, "DOWN") };
        (code, Json(json!({ "status": status })))
    }
}
