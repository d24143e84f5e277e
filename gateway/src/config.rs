//! The settings of the gateway.

use crate::cors::Cors;
use crate::trusted::Proxies;
use chassis::base::config::{Listen, base_url};

/// The settings of the gateway.
#[derive(Clone, Debug, clap::Args)]
pub struct GatewayConfig {
    #[command(flatten)]
    pub listen: Listen,

    #[command(flatten)]
    pub cors: Cors,

    #[command(flatten)]
    pub proxies: Proxies,

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
