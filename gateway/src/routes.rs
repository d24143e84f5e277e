//! Which prefix goes where.

use crate::GatewayConfig;
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

/// Requests that each service works on at once for this gateway, which it is done with in about 60 ms where it makes 4,000
/// carts a second; others wait for a place. A service that stands still keeps no place from the others.
const IN_PROGRESS: usize = 256;

/// What [`routes`] serves. The bodies are those that the services read.
pub fn surface() -> Surface {
    let paths = vec!["/", "/gifticons", "/carts", "/payments", "/mypages", HEALTH_PATH];
    let bodies = &[
        (Method::POST, "/gifticons"),
        (Method::PATCH, "/gifticons/{id}"),
        (Method::POST, "/carts"),
    ];
    Surface { paths, bodies }
}

/// The routes.
pub fn routes(config: GatewayConfig, metrics: &Metrics) -> Router {
    let proxy = Proxy::new();
    let table = [
        ("/gifticons", config.gifticon_url, UPSTREAM_TIMEOUT),
        ("/carts", config.cart_url, CART_UPSTREAM_TIMEOUT),
        ("/payments", config.payment_url, UPSTREAM_TIMEOUT),
        ("/mypages", config.mypage_url, UPSTREAM_TIMEOUT),
    ];
    let mut router = Router::new().route("/", get(root));
    for (prefix, base, budget) in table {
        let (proxy, queue) = (proxy.clone(), Queue::new(IN_PROGRESS, metrics));
        let forward = any(async move |request: Request| {
            let _place = queue.enter().await?;
            proxy.forward(&base, budget, request).await
        });
        router =
            router.route(prefix, forward.clone()).route(&format!("{prefix}/{{*rest}}"), forward);
    }
    router
}

async fn root(base: BaseUrl) -> Json<Index> {
    let links = ["gifticons", "carts", "payments", "mypages"].into_iter().fold(
        Links::default(),
        |links, name| {
            links.templated(name, base.url(&format!("/{name}{{?page,size,sort,after,before}}")))
        },
    );
    Json(Index::new(links))
}
