//! The whole shop in one process: the same five services on SQLite files in one data directory, and
//! the embedded event log where there is no Kafka.

#[cfg(feature = "failpoints")]
pub mod failpoints;

use anyhow::Context;
use chassis::bus::{Bus, EmbeddedLog, KafkaBus};
use chassis::config::{DatabaseUrl, Host, Listen, Topic};
use chassis::{Running, Unusable};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// What `--help` says of it.
pub const ABOUT: &str = "The whole gifticon shop in one process";

/// The settings of the shop in one process.
#[derive(Clone, Debug, clap::Args)]
pub struct StandaloneConfig {
    /// Directory of the databases and the event log; made if missing
    #[arg(long, env, default_value = "./data")]
    pub data_dir: PathBuf,

    /// Bootstrap servers of Kafka, as HOST:PORT,HOST:PORT; unset means the embedded event log
    #[arg(long, env, value_parser = chassis::config::brokers)]
    pub kafka_brokers: Option<String>,

    #[command(flatten)]
    pub topic: Topic,

    #[command(flatten)]
    pub listeners: Listeners,

    #[command(flatten)]
    pub budget: cart::Budget,

    #[command(flatten)]
    pub limit: payment::Limit,

    #[command(flatten)]
    pub cors: gateway::Cors,

    #[command(flatten)]
    pub proxies: gateway::Proxies,
}

/// Where the five listen.
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
}

impl Listeners {
    /// Free ports for all, on loopback.
    pub fn free() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            gifticon_addr: free,
            cart_addr: free,
            payment_addr: free,
            mypage_addr: free,
            gateway_addr: free,
        }
    }
}

/// The shop, running.
pub struct Shop {
    pub gateway: Running,
    pub cart: Running,
    pub gifticon: Running,
    pub payment: Running,
    pub mypage: Running,
    /// Where there is no Kafka.
    pub log: Option<EmbeddedLog>,
}

impl Shop {
    /// The five in the order in which they stop: the door first.
    pub fn into_parts(self) -> (Vec<Running>, Option<EmbeddedLog>) {
        (vec![self.gateway, self.cart, self.gifticon, self.payment, self.mypage], self.log)
    }
}

/// Starts the shop.
pub async fn start(config: StandaloneConfig) -> anyhow::Result<Shop> {
    let dir = config.data_dir;
    let unusable = |why: String| Unusable { setting: "DATA_DIR", why };
    let made = std::fs::create_dir_all(&dir);
    made.map_err(|error| unusable(format!("{}: {error}; it is a directory", dir.display())))?;
    let (bus, log): (Arc<dyn Bus>, _) = match config.kafka_brokers {
        Some(brokers) => (Arc::new(KafkaBus::new(&brokers, &config.topic.kafka_topic)), None),
        None => {
            let log = EmbeddedLog::open(&dir.join("events.db")).await;
            let log = log.map_err(|error| unusable(format!("{error:#}")))?;
            (Arc::new(log.clone()), Some(log))
        }
    };
    let host = |name: &str, listen_addr| -> anyhow::Result<Host> {
        let url = format!("sqlite:{}", dir.join(name).with_extension("db").display());
        let database_url: DatabaseUrl = url.parse().map_err(unusable)?;
        Ok(Host { listen: Listen { listen_addr }, database_url })
    };
    let at = config.listeners;
    let gifticon = gifticon::GifticonConfig { host: host("gifticon", at.gifticon_addr)? };
    let gifticon = gifticon::start(gifticon, Arc::clone(&bus)).await;
    let gifticon = gifticon.map_err(|error| named(error, "GIFTICON_ADDR"))?;
    let payment =
        payment::PaymentConfig { host: host("payment", at.payment_addr)?, limit: config.limit };
    let payment = payment::start(payment, Arc::clone(&bus)).await;
    let payment = payment.map_err(|error| named(error, "PAYMENT_ADDR"))?;
    let mypage = mypage::MypageConfig { host: host("mypage", at.mypage_addr)? };
    let mypage = mypage::start(mypage, Arc::clone(&bus)).await;
    let mypage = mypage.map_err(|error| named(error, "MYPAGE_ADDR"))?;
    let cart = cart::CartConfig {
        host: host("cart", at.cart_addr)?,
        budget: config.budget,
        gifticon_url: gifticon.url(),
    };
    let cart = cart::start(cart, bus).await.map_err(|error| named(error, "CART_ADDR"))?;
    let gateway = gateway::GatewayConfig {
        listen: Listen { listen_addr: at.gateway_addr },
        cors: config.cors,
        proxies: config.proxies,
        gifticon_url: gifticon.url(),
        cart_url: cart.url(),
        payment_url: payment.url(),
        mypage_url: mypage.url(),
    };
    let gateway = gateway::start(gateway).map_err(|error| named(error, "GATEWAY_ADDR"))?;
    Ok(Shop { gateway, cart, gifticon, payment, mypage, log })
}

/// A service names its own settings; here they have other names.
fn named(error: anyhow::Error, address: &'static str) -> anyhow::Error {
    match error.downcast::<Unusable>() {
        Ok(Unusable { setting: "LISTEN_ADDR", why }) => Unusable { setting: address, why }.into(),
        Ok(Unusable { why, .. }) => Unusable { setting: "DATA_DIR", why }.into(),
        Err(error) => error.context("the shop cannot start"),
    }
}

/// Starts the shop for [`chassis::launch::process`], and keeps the log to close it at the end.
pub async fn start_parts(
    config: StandaloneConfig,
    log: &tokio::sync::OnceCell<EmbeddedLog>,
) -> anyhow::Result<Vec<Running>> {
    let (parts, embedded) = start(config).await?.into_parts();
    if let Some(embedded) = embedded {
        log.set(embedded).ok().context("the shop was started twice")?;
    }
    Ok(parts)
}
