//! Floors: servers that do nothing, measured on the same machine by the same client.

use anyhow::Context;
use axum::http::Method;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use chassis::auth::Authenticator;
use chassis::base::config::{Auth, Listen, StreamsLimit, TlsFiles};
use chassis::base::metrics::Metrics;
use chassis::base::problem::Problem;
use chassis::base::span::Tracer;
use chassis::http::{self, client};
use chassis::service::{PublicAddress, Running, serve_bare};
use gateway::services::Upstreams;
use gateway::{Cors, GatewayConfig, Proxies};
use serde_json::{Value, json};
use sqlx::{Connection, Executor};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Any free port of loopback.
pub(crate) const FREE_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn serve(name: &'static str, routes: Router) -> anyhow::Result<Running> {
    let surface = http::Surface {
        paths: vec![],
        bodies: &[(Method::POST, "/carts"), (Method::PUT, "/reservations/{reservation}")],
        access: &[],
    };
    let metrics = Arc::new(Metrics::default());
    let address = PublicAddress { listen: &Listen::free(), tls: &TlsFiles::default() };
    let tracer = Tracer::default();
    serve_bare(name, address, metrics, tracer, Authenticator::open(), surface, routes, |routes| {
        routes
    })
}

/// Serves a floor in this process until it is killed, and prints its addresses as the shop's processes do.
pub(crate) async fn serve_floor(name: &str) -> anyhow::Result<()> {
    let running = match name {
        "handler" => vec![serve("handler", Router::new().route("/", get(async || "ok")))?],
        "pipeline" => pipeline()?,
        other => anyhow::bail!("no floor is called {other}"),
    };
    for one in &running {
        println!("{} listens on {}", one.name(), one.url());
    }
    std::future::pending().await
}

/// Starts the hops of `POST /carts` without databases: our gateway, a cart that calls gifticon, and a gifticon that
/// accepts.
fn pipeline() -> anyhow::Result<Vec<Running>> {
    let reserve = async |_: http::Uuid, Json(_): Json<Value>| {
        Json(json!({ "name": "Americano", "price": 5000, "availableQuantity": 1 }))
    };
    let gifticon = Router::new()
        .route("/reservations/{reservation}", put(reserve))
        .route("/gifticons/{id}", get(async || "ok").post(async || "ok"));
    let gifticon = serve("gifticon", gifticon)?;
    let (client, url) = (client::new()?, gifticon.url());
    let add = async move |Json(wanted): Json<Value>| -> Result<Json<Value>, Problem> {
        let url = format!("{url}/reservations/{}", uuid::Uuid::new_v4());
        let answer = client.put(url).json(&wanted).send().await.map_err(Problem::internal)?;
        let reserved: Value = answer.json().await.map_err(Problem::internal)?;
        Ok(Json(
            json!({ "id": 1, "status": "CartAdded", "name": reserved["name"], "price": reserved["price"] }),
        ))
    };
    let cart = serve("cart", Router::new().route("/carts", post(add)))?;
    let gateway = gateway::start(GatewayConfig {
        listen: Listen::free(),
        tls: TlsFiles::default(),
        cors: Cors { cors_origins: vec![] },
        proxies: Proxies::default(),
        upstreams: Upstreams::new(|service| match service.name {
            "cart" => cart.url(),
            _ => gifticon.url(),
        }),
        streams: StreamsLimit::default(),
        auth: Auth::open(),
        sign_in: gateway::SignInConfig::default(),
    })?;
    Ok(vec![gifticon, cart, gateway])
}

/// Returns how many durable commits of one row a second SQLite makes, one after another.
pub(crate) async fn commits(time: Duration) -> anyhow::Result<f64> {
    sqlx::any::install_default_drivers();
    let dir = tempfile::tempdir()?;
    let url = format!("sqlite:{}?mode=rwc", dir.path().join("floor.db").display());
    let mut connection = sqlx::AnyConnection::connect(&url).await.context("SQLite")?;
    connection
        .execute("pragma journal_mode = wal; pragma synchronous = full; create table rows (id integer primary key)")
        .await?;
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        connection.execute("insert into rows default values").await?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}
