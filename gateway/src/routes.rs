//! The routing table: which path prefix goes to which service.

use crate::docs;
use crate::figures::Figures;
use crate::proxy::Proxy;
use crate::services::{FIGURES_PATH, SERVICES, Upstream};
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use chassis::base::accept::prefers_html;
use chassis::base::metrics::Metrics;
use chassis::base::problem::Problem;
use chassis::base::span::Tracer;
use chassis::http::BaseUrl;
use chassis::http::event_stream::Streams;
use chassis::http::hal::{Index, Links};
use chassis::http::queue::Queue;
use std::sync::Arc;
use web::Web;

/// Requests in progress for one service; others wait in a queue. At 4,000 carts a second a service finishes this many in about
/// 60 ms. Each service has its own places, so that one that is stuck does not block the others.
const IN_PROGRESS_MAX: usize = 256;

/// What the requests for one service share.
struct Forwarding {
    proxy: Proxy,
    queue: Queue,
    upstream: Arc<Upstream>,
}

impl Forwarding {
    async fn forward(&self, request: Request) -> Result<Response, Problem> {
        self.proxy.forward(&self.upstream, self.upstream.service.timeout, request).await
    }
}

/// Returns the pages, and the routes of the services, which the pages ask by the same routes.
pub(crate) fn web(
    upstreams: Vec<Arc<Upstream>>,
    streams: &Streams,
    metrics: &Metrics,
    tracer: &Tracer,
) -> Web {
    let proxy = Proxy::new(tracer.clone());
    let figures = Figures::new(proxy.clone(), upstreams.clone());
    let mut router =
        docs::routes().route(FIGURES_PATH, get(async move || figures.response().await));
    for upstream in upstreams {
        let service = upstream.service;
        // One `Arc`, because the router clones a handler with all that it holds for each request.
        let forwarding = Arc::new(Forwarding {
            proxy: proxy.clone(),
            queue: Queue::new(IN_PROGRESS_MAX, metrics),
            upstream,
        });
        for path in service.streams {
            let (forwarding, streams) = (Arc::clone(&forwarding), streams.clone());
            let forward = any(async move |request: Request| {
                let permit = streams.enter()?;
                let response = forwarding.forward(request).await?;
                Ok::<_, Problem>(response.map(|body| permit.held_by(body)))
            });
            router = router.route(path, forward);
        }
        let forward = any(async move |request: Request| {
            let _permit = forwarding.queue.enter().await?;
            forwarding.forward(request).await
        });
        let below = format!("{}/{{*rest}}", service.path);
        router = router.route(service.path, forward.clone()).route(&below, forward);
    }
    Web::new(router)
}

/// Returns all routes: those of the services, the pages and `/`.
pub(crate) fn all(web: &Web) -> Router {
    let front_web = web.clone();
    web.routes().route(
        "/",
        get(async move |base: BaseUrl, request: Request| front(&front_web, base, request).await),
    )
}

/// Handles `GET /`: the shop's page for browsers, links to the collections for everybody else.
async fn front(web: &Web, base: BaseUrl, request: Request) -> Response {
    if prefers_html(request.headers()) {
        return web.home(request).await;
    }
    ([(header::VARY, "accept")], root(&base)).into_response()
}

/// Returns links to the collections.
fn root(base: &BaseUrl) -> Json<Index> {
    let links = SERVICES.into_iter().fold(Links::default(), |links, service| {
        let url = base.url(&format!("{}{{?page,size,sort,after,before}}", service.path));
        links.templated(service.collection(), url)
    });
    Json(Index::new(links))
}
