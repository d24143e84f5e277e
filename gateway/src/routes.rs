//! The routing table: which path prefix goes to which service.

use crate::figures::Figures;
use crate::proxy::Proxy;
use crate::services::{FIGURES_PATH, SERVICES, Upstreams};
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{any, get};
use axum::{Json, Router};
use chassis::base::metrics::Metrics;
use chassis::base::problem::Problem;
use chassis::base::span::Tracer;
use chassis::http::BaseUrl;
use chassis::http::event_stream::{StreamPermit, Streams};
use chassis::http::hal::{Index, Links};
use chassis::http::queue::Queue;
use http_body_util::BodyExt;

/// Requests in progress for one service; others wait in a queue. At 4,000 carts a second a service finishes this many in about
/// 60 ms. Each service has its own places, so that one that is stuck does not block the others.
const IN_PROGRESS_MAX: usize = 256;

/// Returns the routes.
pub(crate) fn routes(
    upstreams: Upstreams,
    streams: Streams,
    metrics: &Metrics,
    tracer: &Tracer,
) -> Router {
    let proxy = Proxy::new(tracer.clone());
    let upstreams: Vec<_> = upstreams.each().collect();
    let figures = Figures::new(proxy.clone(), upstreams.clone());
    let mut router = Router::new()
        .route("/", get(root))
        .route(FIGURES_PATH, get(async move || figures.response().await));
    for (service, base) in upstreams {
        for path in service.streams {
            let (proxy, base, streams) = (proxy.clone(), base.clone(), streams.clone());
            let forward = any(async move |request: Request| {
                let permit = streams.enter()?;
                let response = proxy.forward(service.name, &base, service.timeout, request).await?;
                Ok::<_, Problem>(response.map(|body| holding(permit, body)))
            });
            router = router.route(path, forward);
        }
        let (proxy, queue) = (proxy.clone(), Queue::new(IN_PROGRESS_MAX, metrics));
        let forward = any(async move |request: Request| {
            let _permit = queue.enter().await?;
            proxy.forward(service.name, &base, service.timeout, request).await
        });
        let below = format!("{}/{{*rest}}", service.path);
        router = router.route(service.path, forward.clone()).route(&below, forward);
    }
    router
}

/// Returns a body that keeps the permit of its stream until its end.
fn holding(permit: StreamPermit, body: Body) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &permit;
        frame
    }))
}

/// Handles `GET /`: links to the collections.
async fn root(base: BaseUrl) -> Json<Index> {
    let links = SERVICES.into_iter().fold(Links::default(), |links, service| {
        let url = base.url(&format!("{}{{?page,size,sort,after,before}}", service.path));
        links.templated(service.collection(), url)
    });
    Json(Index::new(links))
}
