//! The harness: a shop in this process or as a process, clients, and the audit of its databases.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses a part of this"
)]

pub mod audit;
pub mod files;
pub mod process;
pub mod services;

use chaos::ledger::Ledger;
pub use chaos::{Dice, ShopClient};
use chassis::Running;
use chassis::base::config::{
    Auth, ClientStreams, KafkaSecurity, RateLimit, ServiceToken, StreamsLimit, TlsFiles, Topic,
};
use chassis::bus::EmbeddedLog;
use chassis::testing::eventually;
pub use chassis::testing::server;
use gateway::services::{names, processes};
use standalone::{Listeners, StandaloneConfig};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Gifticons of [`stock_up`], whose ids are 1 to this.
pub const GIFTICONS: u64 = 3;

/// Returns the settings of a shop in `dir`, on free ports.
pub fn config(dir: &Path, kafka_brokers: Option<String>) -> StandaloneConfig {
    StandaloneConfig {
        data_dir: dir.to_owned(),
        kafka_brokers,
        event_log_messages: None,
        topic: Topic { kafka_topic: "gifticon".into() },
        security: KafkaSecurity::default(),
        listeners: Listeners::free(),
        // Longer than the default: a short stall of a busy machine must not open the circuit breaker.
        timeout: cart::CallTimeout { gifticon_timeout_ms: 5_000 },
        limit: payment::Limit { payment_limit: None },
        cors: gateway::Cors { cors_origins: vec![] },
        proxies: gateway::Proxies::default(),
        streams: StreamsLimit::default(),
        client_streams: ClientStreams::default(),
        auth: Auth::open(),
        sign_in: gateway::SignInConfig::default(),
        service_token: ServiceToken::default(),
        rate_limit: RateLimit::default(),
        tls: TlsFiles::default(),
    }
}

/// A shop in this process.
pub struct Shop {
    pub web: ShopClient,
    /// The services, past the gateway.
    pub direct: Clients,
    /// The management routes of the services and of the gateway.
    pub management: Clients,
    /// The base URL of the issuer `dev`, if there is one.
    pub issuer: Option<String>,
    parts: Vec<Running>,
    pub log: Option<EmbeddedLog>,
    pub dir: TempDir,
}

/// A client of each process, by name.
pub type Clients = BTreeMap<&'static str, ShopClient>;

impl Shop {
    /// Starts a shop with the settings of [`config`].
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a shop with a gifticon of 10 units, id 1, and a paid cart of one of them, id 1.
    pub async fn with_a_paid_cart() -> Self {
        let shop = Self::start().await;
        shop.web.register(1, 10, 5000).await;
        shop.web.add(1, 1, None).await.unwrap();
        eventually("the cart to be paid", async || {
            let paid = async |path: &str| shop.web.get(path).await["status"] == "PaymentApproved";
            let pages = shop.web.get("/mypages").await["page"]["totalElements"] == 1;
            (pages && paid("/mypages/1").await && paid("/carts/1").await).then_some(())
        })
        .await;
        shop
    }

    /// Starts a shop with settings that `change` changes.
    pub async fn with(change: impl FnOnce(&mut StandaloneConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), None);
        change(&mut config);
        let shop = standalone::start(config).await.unwrap();
        let urls = shop.urls();
        let web = ShopClient::new(urls["gateway"].clone());
        let client = |name| (name, ShopClient::new(urls[name].clone()));
        let direct = names().into_iter().map(client).collect();
        let managed = |name| (name, ShopClient::new(format!("{}/{name}", urls["management"])));
        let management = processes().into_iter().map(managed).collect();
        let issuer = urls.get("issuer").cloned();
        let (parts, log) = shop.into_parts();
        Self { web, direct, management, issuer, parts, log, dir }
    }

    /// Stops it in order, and returns the directory with its databases.
    pub async fn stop(self) -> TempDir {
        for part in self.parts {
            part.stop(Duration::from_secs(10)).await;
        }
        if let Some(log) = self.log {
            log.close().await;
        }
        self.dir
    }
}

/// Registers plenty of the gifticons 1 and 3, and few of 2.
pub async fn stock_up(web: &ShopClient, ledger: &Ledger) {
    for (gifticon_id, units) in [(1, 1_000_000), (2, 300), (3, 1_000_000)] {
        web.register(gifticon_id, units, 5_000).await;
        ledger.register(gifticon_id, units);
    }
}

/// Returns the seed of this run, `TEST_SEED` or a new one, and prints it, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = setting("TEST_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("TEST_SEED={seed}");
    seed
}

/// Returns a number that the gate sets.
pub fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the gate asks for more than a plain run")]
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}
