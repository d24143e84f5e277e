//! The routing table: which path prefix goes to which service.

use crate::config::GatewayConfig;
use crate::proxy::Proxy;
use axum::extract::Request;
use axum::http::Method;
use axum::routing::{any, get};
use axum::{Json, Router};
use chassis::base::metrics::Metrics;
use chassis::base::patience::PATIENCE;
use chassis::http::hal::{Index, Links};
use chassis::http::queue::Queue;
use chassis::http::{BaseUrl, Surface};
use chassis::service::HEALTH_PATH;
use chassis::storage::READ_TIMEOUT;
use std::time::Duration;

/// Upper bound for the time until cart begins its response. Cart waits for gifticon and, with an `Idempotency-Key`, for the
/// first request with that key.
const CART_DEADLINE: Duration = Duration::from_secs(5);
/// Upper bound for the time until any other service begins its response. It waits for its database only.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(3);
/// A request may wait in queues for [`PATIENCE`], and then read for [`READ_TIMEOUT`].
const _: () =
    assert!(DEFAULT_DEADLINE.as_millis() > PATIENCE.as_millis() + READ_TIMEOUT.as_millis());
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
        ("/gifticons", config.gifticon_url, DEFAULT_DEADLINE),
        ("/carts", config.cart_url, CART_DEADLINE),
        ("/payments", config.payment_url, DEFAULT_DEADLINE),
        ("/mypages", config.mypage_url, DEFAULT_DEADLINE),
    ];
    let mut router = Router::new().route("/", get(root));
    for (prefix, base, deadline) in table {
        let (proxy, queue) = (proxy.clone(), Queue::new(IN_PROGRESS_MAX, metrics));
        let forward = any(async move |request: Request| {
            let _permit = queue.enter().await?;
            proxy.forward(&base, deadline, request).await
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
