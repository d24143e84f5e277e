//! The kinds of bus, and the macros that make a test for each.

use async_trait::async_trait;
use chassis::bus::{Bus, EmbeddedLog, KafkaBus};
use chassis::testing::server;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

/// One kind of bus.
#[async_trait(?Send)]
pub(crate) trait Kind: Sized {
    /// Returns an empty topic.
    async fn start() -> Self;
    async fn bus(&mut self) -> Arc<dyn Bus>;
    /// Does what a restart of the process does to the bus.
    async fn restart(&mut self) {}
    /// Returns the address for a child process.
    fn address(&self) -> String;
}

pub(crate) struct Embedded {
    dir: TempDir,
    log: Option<EmbeddedLog>,
}

impl Embedded {
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("events.db")
    }
}

#[async_trait(?Send)]
impl Kind for Embedded {
    async fn start() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), log: None }
    }

    async fn bus(&mut self) -> Arc<dyn Bus> {
        if self.log.is_none() {
            self.log = Some(EmbeddedLog::open(&self.file()).await.unwrap());
        }
        Arc::new(self.log.clone().unwrap())
    }

    async fn restart(&mut self) {
        if let Some(log) = self.log.take() {
            log.close().await;
        }
    }

    fn address(&self) -> String {
        format!("embedded {}", self.file().display())
    }
}

/// A topic of the broker at `TEST_KAFKA_BROKERS`.
pub(crate) struct Kafka {
    pub(crate) brokers: String,
    pub(crate) topic: String,
}

#[async_trait(?Send)]
impl Kind for Kafka {
    async fn start() -> Self {
        let brokers = server("TEST_KAFKA_BROKERS");
        Self { brokers, topic: format!("test-{}", Uuid::new_v4()) }
    }

    async fn bus(&mut self) -> Arc<dyn Bus> {
        Arc::new(KafkaBus::new(&self.brokers, &self.topic))
    }

    fn address(&self) -> String {
        format!("kafka {} {}", self.brokers, self.topic)
    }
}

/// librdkafka's mock cluster.
pub(crate) struct Mock {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    kafka: Kafka,
}

#[async_trait(?Send)]
impl Kind for Mock {
    async fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("gifticon", 6, 1).unwrap();
        let kafka = Kafka { brokers: cluster.bootstrap_servers(), topic: "gifticon".into() };
        Self { cluster, kafka }
    }

    async fn bus(&mut self) -> Arc<dyn Bus> {
        self.kafka.bus().await
    }

    fn address(&self) -> String {
        self.kafka.address()
    }
}

/// Defines each test for each bus: in `mod embedded`, `mod mock` and `mod kafka`.
macro_rules! on_each_bus {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $test() {
                super::$test(<$crate::kinds::Embedded as $crate::kinds::Kind>::start().await).await;
            })*
        }
        on_kafka!($($test),*);
    };
}

/// Defines each test for the two that have partitions and members of groups: in `mod mock` and `mod kafka`.
macro_rules! on_kafka {
    ($($test:ident),* $(,)?) => {
        mod mock {
            $(#[tokio::test]
            async fn $test() {
                super::$test(<$crate::kinds::Mock as $crate::kinds::Kind>::start().await).await;
            })*
        }
        mod kafka {
            $(#[tokio::test]
            #[ignore = "needs TEST_KAFKA_BROKERS"]
            async fn $test() {
                super::$test(<$crate::kinds::Kafka as $crate::kinds::Kind>::start().await).await;
            })*
        }
    };
}
