//! A shop to test, a customer to test it with, and the audit of its guarantees.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses a part of this"
)]

pub mod inside;
pub mod process;

pub use chaos::{Dice, Web};
use chassis::Running;
use chassis::bus::EmbeddedLog;
use chassis::config::Topic;
use standalone::{Listeners, StandaloneConfig};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The settings of a shop in `dir`, on free ports.
pub fn config(dir: &Path, kafka_brokers: Option<String>) -> StandaloneConfig {
    StandaloneConfig {
        data_dir: dir.to_owned(),
        kafka_brokers,
        topic: Topic { kafka_topic: "gifticon".into() },
        listeners: Listeners::free(),
        // The tests' machines are small and busy: what is late here must be late indeed.
        budget: cart::Budget { gifticon_timeout_ms: 5_000 },
        limit: payment::Limit { payment_limit: None },
        cors: gateway::Cors { cors_origins: vec![] },
        proxies: gateway::Proxies::default(),
    }
}

/// A shop in this process.
pub struct Shop {
    pub web: Web,
    pub direct: Direct,
    parts: Vec<Running>,
    pub log: Option<EmbeddedLog>,
    pub dir: TempDir,
}

/// The services without the gateway.
#[derive(Clone)]
pub struct Direct {
    pub gifticon: Web,
    pub cart: Web,
    pub payment: Web,
    pub mypage: Web,
}

impl Shop {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings that `change` changes.
    pub async fn with(change: impl FnOnce(&mut StandaloneConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), None);
        change(&mut config);
        let shop = standalone::start(config).await.unwrap();
        let web = Web::new(shop.gateway.url());
        let direct = Direct {
            gifticon: Web::new(shop.gifticon.url()),
            cart: Web::new(shop.cart.url()),
            payment: Web::new(shop.payment.url()),
            mypage: Web::new(shop.mypage.url()),
        };
        let (parts, log) = shop.into_parts();
        Self { web, direct, parts, log, dir }
    }

    /// Drains it, and leaves its files for a look inside.
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

/// The seed of this run: `TEST_SEED`, or a new one. Printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = setting("TEST_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("TEST_SEED={seed}");
    seed
}

/// A number that the gate sets.
pub fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the gate asks for more than a plain run")]
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}
