//! The public address of the shop.
//!
//! Each service has a path prefix (`services.rs`); any other path is 404. The gateway reads the whole body
//! of a request, within the bounds of every server here, before it calls a service, and streams the response. It never
//! sends a request twice that a service may have acted on.

mod config;
mod connect;
mod cors;
pub mod docs;
mod figures;
mod forwarded;
mod hop_by_hop;
pub mod openapi;
pub mod proxy;
mod routes;
mod security_headers;
pub mod services;
mod sign_in;
mod trusted;

pub use config::GatewayConfig;
pub use cors::Cors;
pub use sign_in::{SessionToken, SignInConfig};
pub use trusted::{Network, Proxies};

use axum::Router;
use axum::extract::Request;
use chassis::Running;
use chassis::auth::{Authenticator, log_mode};
use chassis::base::metrics::Metrics;
use chassis::base::span::Tracer;
use chassis::http::event_stream::Streams;
use chassis::http::{LocalServer, behind_gateway_gate, distrust_trace};
use chassis::service::{PublicAddress, serve_bare};
use sign_in::SignIn;
use std::collections::BTreeMap;
use std::sync::Arc;
use tower::ServiceBuilder;

/// The description in `--help`.
pub const ABOUT: &str = "The public address of the gifticon shop";

/// Starts the gateway.
pub fn start(config: GatewayConfig) -> anyhow::Result<Running> {
    start_beside(config, &BTreeMap::new())
}

/// Starts the gateway in a process where services run, by name. It calls these without a connection.
pub fn start_beside(
    config: GatewayConfig,
    services: &BTreeMap<&'static str, LocalServer>,
) -> anyhow::Result<Running> {
    let GatewayConfig { listen, tls, cors, proxies, upstreams, streams, auth, sign_in } = config;
    let (cors, trusted) = (cors::layer(cors), proxies.trusted_proxies);
    let metrics = Arc::new(Metrics::default());
    let tracer = Tracer::of("gateway", &metrics);
    log_mode(&auth);
    let authenticator = Authenticator::new(&auth, &metrics)?;
    let surface = services::surface();
    let upstreams = upstreams.each(services);
    let web = routes::web(upstreams, &Streams::new(streams, &metrics), &metrics, &tracer);
    let gated = |routes| behind_gateway_gate(authenticator.clone(), surface.access, routes);
    // Who is signed in has to be known before the gate looks for a token.
    let routes = match SignIn::new(sign_in, &auth, &authenticator, &metrics)? {
        Some(sign_in) => sign_in::around(sign_in, &web, gated(routes::all(&web))),
        None => gated(routes::all(&web)),
    };
    let distrust = tracer.is_on() && !proxies.trust_traceparent;
    let layers = ServiceBuilder::new()
        .map_request(move |mut request: Request| {
            if distrust {
                distrust_trace(&mut request);
            }
            forwarded::replace_headers(&trusted, request)
        })
        .layer(axum::middleware::from_fn(security_headers::add))
        .map_request(cors::hide_options)
        .layer(cors)
        .map_request(cors::show_options);
    let address = PublicAddress { listen: &listen, tls: &tls };
    let around = |routes: Router| routes.layer(layers);
    serve_bare("gateway", address, metrics, tracer, authenticator, surface, routes, around)
}
