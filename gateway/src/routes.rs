//! Which prefix goes where.

use crate::GatewayConfig;
use crate::proxy::Proxy;
use axum::extract::Request;
use axum::routing::{any, get};
use axum::{Json, Router};
use chassis::hal::{Index, Links};
use chassis::http::Base;
use std::time::Duration;

/// How long a service may take to begin its answer. `cart` waits for gifticon and, with an
/// `Idempotency-Key`, for the first request with it; the others only for their own database.
const CART: Duration = Duration::from_secs(5);
const OTHERS: Duration = Duration::from_secs(3);

/// The routes.
pub fn routes(config: GatewayConfig) -> Router {
    let proxy = Proxy::new();
    let table = [
        ("/gifticons", config.gifticon_url, OTHERS),
        ("/carts", config.cart_url, CART),
        ("/payments", config.payment_url, OTHERS),
        ("/mypages", config.mypage_url, OTHERS),
    ];
    let mut router = Router::new().route("/", get(root));
    for (prefix, base, budget) in table {
        let proxy = proxy.clone();
        let forward =
            any(async move |request: Request| proxy.forward(&base, budget, request).await);
        router =
            router.route(prefix, forward.clone()).route(&format!("{prefix}/{{*rest}}"), forward);
    }
    router
}

async fn root(base: Base) -> Json<Index> {
    let links = ["gifticons", "carts", "payments", "mypages"]
        .into_iter()
        .fold(Links::default(), |links, name| {
            links.templated(name, base.url(&format!("/{name}{{?page,size,sort,after}}")))
        });
    Json(Index::new(links))
}
