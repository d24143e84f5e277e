//! The routing table: which path prefix goes to which service.

use crate::docs;
use crate::figures::Figures;
use crate::proxy::Proxy;
use crate::services::{FIGURES_PATH, SERVICES, Upstreams};
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
use web::Web;

/// Requests in progress for one service; others wait in a queue. At 4,000 carts a second a service finishes this many in about
/// 60 ms. Each service has its own places, so that one that is stuck does not block the others.
const IN_PROGRESS_MAX: usize = 256;

/// Returns the pages, and the routes of the services, which the pages ask by the same routes.
pub(crate) fn web(
    upstreams: Upstreams,
    streams: &Streams,
    metrics: &Metrics,
    tracer: &Tracer,
) -> Web {
    let proxy = Proxy::new(tracer.clone());
    let upstreams: Vec<_> = upstreams.each().collect();
    let figures = Figures::new(proxy.clone(), upstreams.clone());
    let mut router =
        docs::routes().route(FIGURES_PATH, get(async move || figures.response().await));
    for (service, base) in upstreams {
        for path in service.streams {
            let (proxy, base, streams) = (proxy.clone(), base.clone(), streams.clone());
            let forward = any(async move |request: Request| {
                let permit = streams.enter()?;
                let response = proxy.forward(service.name, &base, service.timeout, request).await?;
                Ok::<_, Problem>(response.map(|body| permit.held_by(body)))
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
