//! Which prefix goes where.

use crate::GatewayConfig;
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

/// How long a service may take to begin its answer. `cart` waits for gifticon and, with an
/// `Idempotency-Key`, for the first request with it; the others only for their own database.
const CART: Duration = Duration::from_secs(5);
const OTHERS: Duration = Duration::from_secs(3);
/// A service may let a request wait for the whole patience, and then read for as long as a read may take.
const _: () = assert!(OTHERS.as_millis() > PATIENCE.as_millis() + READ_TIMEOUT.as_millis());
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
        ("/gifticons", config.gifticon_url, OTHERS),
        ("/carts", config.cart_url, CART),
        ("/payments", config.payment_url, OTHERS),
        ("/mypages", config.mypage_url, OTHERS),
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
