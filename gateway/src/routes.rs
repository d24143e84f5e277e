//! The routing table: which path prefix goes to which service.

use crate::proxy::Proxy;
use crate::services::{SERVICES, Upstreams};
use axum::extract::Request;
use axum::routing::{any, get};
use axum::{Json, Router};
use chassis::base::metrics::Metrics;
use chassis::http::BaseUrl;
use chassis::http::hal::{Index, Links};
use chassis::http::queue::Queue;

/// Requests in progress for one service; others wait in a queue. At 4,000 carts a second a service finishes this many in about
/// 60 ms. Each service has its own places, so that one that is stuck does not block the others.
const IN_PROGRESS_MAX: usize = 256;

/// Returns the routes.
pub(crate) fn routes(upstreams: Upstreams, metrics: &Metrics) -> Router {
    let proxy = Proxy::new();
    let mut router = Router::new().route("/", get(root));
    for (service, base) in upstreams.each() {
        let (proxy, queue) = (proxy.clone(), Queue::new(IN_PROGRESS_MAX, metrics));
        let forward = any(async move |request: Request| {
            let _permit = queue.enter().await?;
            proxy.forward(&base, service.timeout, request).await
        });
        let below = format!("{}/{{*rest}}", service.path);
        router = router.route(service.path, forward.clone()).route(&below, forward);
    }
    router
}

/// Handles `GET /`: links to the collections.
async fn root(base: BaseUrl) -> Json<Index> {
    let links = SERVICES.into_iter().fold(Links::default(), |links, service| {
        let url = base.url(&format!("{}{{?page,size,sort,after,before}}", service.path));
        links.templated(service.collection(), url)
    });
    Json(Index::new(links))
}
