//! The routing table: which path prefix goes to which service.

use crate::config::GatewayConfig;
use crate::proxy::Proxy;
use axum::extract::Request;
use axum::http::Method;
use axum::routing::{any, get};
use axum::{Json, Router};
use chassis::base::limits::{CART_UPSTREAM_TIMEOUT, UPSTREAM_TIMEOUT};
use chassis::base::metrics::Metrics;
use chassis::http::hal::{Index, Links};
use chassis::http::queue::Queue;
use chassis::http::{BaseUrl, Surface};
use chassis::service::HEALTH_PATH;

/// Requests in progress for one service; others wait in a queue. At 4,000 carts a second a service finishes this many in about
/// 60 ms. Each service has its own places, so that one that is stuck does not block the others.
const IN_PROGRESS_MAX: usize = 256;

/// Returns the paths of the gateway, and the routes whose bodies the services read.
pub fn surface() -> Surface {
    let paths = vec!["/", "/gifticons", "/carts", "/payments", "/mypages", HEALTH_PATH];
    let bodies = &[
        (Method::POST, "/gifticons"),
        (Method::PATCH, "/gifticons/{id}"),
        (Method::POST, "/carts"),
    ];
    Surface { paths, bodies }
}

/// Returns the routes.
pub fn routes(config: GatewayConfig, metrics: &Metrics) -> Router {
    let proxy = Proxy::new();
    let table = [
        ("/gifticons", config.gifticon_url, UPSTREAM_TIMEOUT),
        ("/carts", config.cart_url, CART_UPSTREAM_TIMEOUT),
        ("/payments", config.payment_url, UPSTREAM_TIMEOUT),
        ("/mypages", config.mypage_url, UPSTREAM_TIMEOUT),
    ];
    let mut router = Router::new().route("/", get(root));
    for (prefix, base, response_timeout) in table {
        let (proxy, queue) = (proxy.clone(), Queue::new(IN_PROGRESS_MAX, metrics));
        let forward = any(async move |request: Request| {
            let _permit = queue.enter().await?;
            proxy.forward(&base, response_timeout, request).await
        });
        router =
            router.route(prefix, forward.clone()).route(&format!("{prefix}/{{*rest}}"), forward);
    }
    router
}

/// Handles `GET /`: links to the collections.
async fn root(base: BaseUrl) -> Json<Index> {
    let links = ["gifticons", "carts", "payments", "mypages"].into_iter().fold(
        Links::default(),
        |links, name| {
            links.templated(name, base.url(&format!("/{name}{{?page,size,sort,after,before}}")))
        },
    );
    Json(Index::new(links))
}
