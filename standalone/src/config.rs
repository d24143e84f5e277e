//! The settings of the shop in one process.

use chassis::base::config::{
    Auth, ClientStreams, KafkaSecurity, RateLimit, ServiceToken, StreamsLimit, TlsFiles, Topic,
};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The address of the issuer `dev`, unless a setting names another.
pub(crate) const DEV_ISSUER_ADDR: &str = "127.0.0.1:8087";

/// The settings of the shop in one process.
#[derive(Clone, Debug, clap::Args)]
pub struct StandaloneConfig {
    /// Directory of the databases and the event log; made if missing
    #[arg(long, env, default_value = "./data")]
    pub data_dir: PathBuf,

    /// Bootstrap servers of Kafka, as HOST:PORT,HOST:PORT; unset means the embedded event log
    #[arg(long, env, value_parser = chassis::base::config::brokers)]
    pub kafka_brokers: Option<String>,

    /// Keep at least so many of the newest events in the embedded event log, and delete older ones that every service has read;
    /// unset keeps all
    #[arg(long, env, value_parser = clap::value_parser!(i64).range(1..))]
    pub event_log_messages: Option<i64>,

    #[command(flatten)]
    pub topic: Topic,

    #[command(flatten)]
    pub security: KafkaSecurity,

    #[command(flatten)]
    pub listeners: Listeners,

    #[command(flatten)]
    pub timeout: cart::CallTimeout,

    #[command(flatten)]
    pub limit: payment::Limit,

    #[command(flatten)]
    pub cors: gateway::Cors,

    #[command(flatten)]
    pub proxies: gateway::Proxies,

    #[command(flatten)]
    pub streams: StreamsLimit,

    #[command(flatten)]
    pub client_streams: ClientStreams,

    #[command(flatten)]
    pub auth: Auth,

    #[command(flatten)]
    pub sign_in: gateway::SignInConfig,

    #[command(flatten)]
    pub service_token: ServiceToken,

    #[command(flatten)]
    pub rate_limit: RateLimit,

    /// HTTPS at `GATEWAY_ADDR`.
    #[command(flatten)]
    pub tls: TlsFiles,
}

/// The addresses of the services, of the gateway, and of the management routes of all.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Listeners {
    /// Address of gifticon, as IP:PORT; port 0 takes any free one
    #[arg(long, env, default_value = "127.0.0.1:8081")]
    pub gifticon_addr: SocketAddr,

    /// Address of cart, as IP:PORT; port 0 takes any free one
    #[arg(long, env, default_value = "127.0.0.1:8082")]
    pub cart_addr: SocketAddr,

    /// Address of payment, as IP:PORT; port 0 takes any free one
    #[arg(long, env, default_value = "127.0.0.1:8083")]
    pub payment_addr: SocketAddr,

    /// Address of mypage, as IP:PORT; port 0 takes any free one
    #[arg(long, env, default_value = "127.0.0.1:8084")]
    pub mypage_addr: SocketAddr,

    /// Address of the gateway, as IP:PORT; port 0 takes any free one
    #[arg(long, env, default_value = "127.0.0.1:8088")]
    pub gateway_addr: SocketAddr,

    /// Address of the management routes of all, as /cart/metrics, as IP:PORT; port 0 takes any free one
    #[arg(long, env, default_value = "127.0.0.1:8089")]
    pub management_addr: SocketAddr,

    /// Address of the issuer of AUTH_ISSUER=dev, as IP:PORT; it is a part of the owner of all that is made
    #[arg(long, env, default_value = DEV_ISSUER_ADDR)]
    pub dev_issuer_addr: SocketAddr,
}

impl Listeners {
    /// Returns free ports of loopback for all.
    pub fn free() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            gifticon_addr: free,
            cart_addr: free,
            payment_addr: free,
            mypage_addr: free,
            gateway_addr: free,
            management_addr: free,
            dev_issuer_addr: free,
        }
    }

    /// Returns the first that others than this machine reach.
    pub(crate) fn beyond_loopback(self) -> Option<(&'static str, SocketAddr)> {
        let each = [
            ("GIFTICON_ADDR", self.gifticon_addr),
            ("CART_ADDR", self.cart_addr),
            ("PAYMENT_ADDR", self.payment_addr),
            ("MYPAGE_ADDR", self.mypage_addr),
            ("GATEWAY_ADDR", self.gateway_addr),
            ("MANAGEMENT_ADDR", self.management_addr),
            ("DEV_ISSUER_ADDR", self.dev_issuer_addr),
        ];
        each.into_iter().find(|(_, address)| !address.ip().is_loopback())
    }
}
