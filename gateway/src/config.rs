//! The settings of the gateway.

use crate::cors::Cors;
use crate::services::Upstreams;
use crate::sign_in::SignInConfig;
use crate::trusted::Proxies;
use chassis::base::config::{Auth, Listen, StreamsLimit, TlsFiles};

/// The settings of the gateway.
#[derive(Clone, Debug, clap::Args)]
pub struct GatewayConfig {
    #[command(flatten)]
    pub listen: Listen,

    #[command(flatten)]
    pub tls: TlsFiles,

    #[command(flatten)]
    pub cors: Cors,

    #[command(flatten)]
    pub proxies: Proxies,

    #[command(flatten)]
    pub upstreams: Upstreams,

    #[command(flatten)]
    pub streams: StreamsLimit,

    #[command(flatten)]
    pub auth: Auth,

    #[command(flatten)]
    pub sign_in: SignInConfig,
}
