//! The one public door.
//!
//! A table says which prefix goes to which service (`routes.rs`); everything else is not there. Bodies
//! are streamed both ways within the bounds that all our servers keep. A request that may have been
//! acted on is never sent twice.

pub mod proxy;
pub mod routes;

use axum::http::HeaderValue;
use chassis::Running;
use chassis::config::{Listen, base_url};
use chassis::metrics::Metrics;
use chassis::service::serve_bare;
use std::sync::Arc;
use tower::ServiceBuilder;

/// What `--help` says of it.
pub const ABOUT: &str = "The public door of the gifticon shop";

/// The settings of the gateway.
#[derive(Clone, Debug, clap::Args)]
pub struct GatewayConfig {
    #[command(flatten)]
    pub listen: Listen,

    #[command(flatten)]
    pub cors: Cors,

    /// Base URL of the gifticon service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    pub gifticon_url: String,

    /// Base URL of the cart service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    pub cart_url: String,

    /// Base URL of the payment service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    pub payment_url: String,

    /// Base URL of the mypage service, as http://HOST:PORT
    #[arg(long, env, value_parser = base_url)]
    pub mypage_url: String,
}

/// Which pages of others may call the shop.
#[derive(Clone, Debug, clap::Args)]
pub struct Cors {
    /// Origins whose pages may call with credentials, as https://HOST,https://HOST; unset allows any, without credentials
    #[arg(long, env, value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<HeaderValue>,
}

/// Reads an origin: scheme, host and port, nothing more.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let text = text.trim();
    let host = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '*', '?', '#', ' ']) => {
            text.parse().map_err(|_| "an origin has no control characters".to_owned())
        }
        _ => {
            Err("an origin looks like https://shop.example; leave CORS_ORIGINS unset to allow any"
                .into())
        }
    }
}

/// Starts the gateway.
pub fn start(config: GatewayConfig) -> anyhow::Result<Running> {
    let (addresses, cors) = (config.listen.clone(), routes::cors(config.cors.clone()));
    let metrics = Arc::new(Metrics::default());
    let routes = routes::routes(config, &metrics);
    let around = ServiceBuilder::new().layer(cors).map_request(proxy::distrust);
    serve_bare("gateway", &addresses, metrics, routes, |routes| routes.layer(around))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_no_pattern_and_no_page() {
        assert!(origin("https://shop.example").is_ok());
        assert!(origin(" http://localhost:3000").is_ok());
        for wrong in
            ["", "*", "https://*", "https://*.example", "shop.example", "https://a/b", "ftp://a"]
        {
            assert!(origin(wrong).is_err(), "{wrong} was taken");
        }
    }
}
