//! A shop to test, a customer to test it with, and the audit of its guarantees.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses a part of this"
)]

pub mod files;
pub mod inside;
pub mod process;

pub use chaos::{Dice, Web};
use chassis::Running;
use chassis::base::config::{KafkaSecurity, Topic};
use chassis::bus::EmbeddedLog;
use chassis::testing::eventually;
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
        security: KafkaSecurity::default(),
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
    /// What operators use, by service.
    pub management: Direct,
    parts: Vec<Running>,
    pub log: Option<EmbeddedLog>,
    pub dir: TempDir,
}

/// The four services, past the gateway.
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

    /// With one gifticon of 10 units and one paid cart, id 1, that holds one of them.
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
        let managed = |name| Web::new(format!("{}/{name}", shop.management.url()));
        let management = Direct {
            gifticon: managed("gifticon"),
            cart: managed("cart"),
            payment: managed("payment"),
            mypage: managed("mypage"),
        };
        let (parts, log) = shop.into_parts();
        Self { web, direct, management, parts, log, dir }
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
