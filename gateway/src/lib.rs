//! The one public door.
//!
//! A table says which prefix goes to which service (`routes.rs`); everything else is not there. The body of a
//! request is read whole, within the bounds that all our servers keep, before a service is asked; answers are
//! streamed. A request that may have been acted on is never sent twice.

mod config;
mod connect;
mod cors;
pub mod proxy;
pub mod routes;
mod trust;

pub use config::GatewayConfig;
pub use cors::Cors;
pub use trust::{Network, Proxies};

use chassis::Running;
use chassis::base::metrics::Metrics;
use chassis::service::serve_bare;
use std::sync::Arc;
use tower::ServiceBuilder;

/// What `--help` says of it.
pub const ABOUT: &str = "The public door of the gifticon shop";

/// Starts the gateway.
pub fn start(config: GatewayConfig) -> anyhow::Result<Running> {
    let (addresses, cors) = (config.listen.clone(), cors::layer(config.cors.clone()));
    let trusted = config.proxies.trusted_proxies.clone();
    let metrics = Arc::new(Metrics::default());
    let routes = routes::routes(config, &metrics);
    let around = ServiceBuilder::new()
        .map_request(cors::hide_options)
        .layer(cors)
        .map_request(cors::show_options)
        .map_request(move |request| trust::tell(&trusted, request));
    serve_bare("gateway", &addresses, metrics, routes::surface(), routes, |routes| {
        routes.layer(around)
    })
}
