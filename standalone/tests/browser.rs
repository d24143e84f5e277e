//! The pages in a real Chromium. `.ci/run browser` starts its driver.

mod common;

#[path = "browser/api.rs"]
mod api;
#[path = "browser/base64.rs"]
mod base64;
#[path = "browser/driver.rs"]
mod driver;
#[path = "browser/input.rs"]
mod input;
#[path = "browser/live.rs"]
mod live;
#[path = "browser/pictures.rs"]
mod pictures;
#[path = "browser/plain.rs"]
mod plain;
#[path = "browser/purchase.rs"]
mod purchase;
#[path = "browser/restart.rs"]
mod restart;
#[path = "browser/sign_in.rs"]
mod sign_in;
#[path = "browser/sound.rs"]
mod sound;
#[path = "browser/states.rs"]
mod states;

use chassis::Running;
use chassis::base::config::{Auth, Listen, StreamsLimit, TlsFiles};
use common::Shop;
use gateway::services::Upstreams;
use gateway::{Cors, GatewayConfig, Proxies, SignInConfig};
use serde_json::json;
use std::net::SocketAddr;

/// Puts a gifticon on sale.
async fn register(shop: &Shop, gifticon_id: i64, name: &str, quantity: i64, price: i64) {
    let body = json!({
        "gifticonId": gifticon_id, "name": name, "availableQuantity": quantity, "price": price,
    });
    shop.web.ask(reqwest::Method::POST, "/gifticons", Some(body)).await.unwrap();
}

/// Returns how many live carts there are.
async fn carts(shop: &Shop) -> i64 {
    shop.web.get("/carts").await["page"]["totalElements"].as_i64().unwrap()
}

/// Starts another gateway.
fn gateway(listen_addr: SocketAddr, upstreams: Upstreams) -> Running {
    let listen = Listen { listen_addr, ..Listen::free() };
    gateway::start(GatewayConfig {
        listen,
        tls: TlsFiles::default(),
        cors: Cors { cors_origins: vec![] },
        proxies: Proxies::default(),
        upstreams,
        auth: Auth::open(),
        sign_in: SignInConfig::default(),
        streams: StreamsLimit::default(),
    })
    .unwrap()
}
