//! The shop on a Kafka that requires TLS and SASL. `.ci/run` starts it with `.ci/kafka-up` and sets the variables.

mod common;
#[path = "kafka_tls/oauth.rs"]
mod oauth;

use chassis::base::config::{KafkaSecurity, Mechanism, Protocol, Secret};
use chassis::bus::{Bus, KafkaBus, Message};
use chassis::testing::eventually;
use common::process::Process;
use common::{Shop, server};
use reqwest::Method;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// The broker: its address, the password of the user `shop`, and a folder. The folder has its CA (`ca.pem`), another CA
/// (`other-ca.pem`), and the key that signs tokens (`tokens.key`).
struct Broker {
    brokers: String,
    dir: PathBuf,
    password: String,
}

impl Broker {
    /// Returns the broker that the gate starts.
    fn of_the_gate() -> Self {
        Self {
            brokers: server("TEST_KAFKA_TLS_BROKERS"),
            dir: server("TEST_KAFKA_TLS_DIR").into(),
            password: server("TEST_KAFKA_TLS_PASSWORD"),
        }
    }

    fn security(&self, ca: &str, mechanism: Mechanism, password: &str) -> KafkaSecurity {
        KafkaSecurity {
            kafka_security_protocol: Protocol::SaslSsl,
            kafka_sasl_mechanism: Some(mechanism),
            kafka_sasl_username: Some("shop".into()),
            kafka_sasl_password: Some(password.parse::<Secret>().unwrap()),
            kafka_ssl_ca_location: Some(self.dir.join(ca)),
            ..KafkaSecurity::default()
        }
    }

    fn bus(&self, topic: &str, security: &KafkaSecurity) -> KafkaBus {
        KafkaBus::secured(&self.brokers, topic, security).unwrap()
    }
}

fn new_topic() -> String {
    format!("test-{}", Uuid::new_v4())
}

#[tokio::test]
#[ignore = "needs TEST_KAFKA_TLS_BROKERS"]
async fn messages_go_through_tls_by_scram_and_by_plain() {
    let broker = Broker::of_the_gate();
    for mechanism in [Mechanism::ScramSha512, Mechanism::Plain] {
        let bus = broker.bus(&new_topic(), &broker.security("ca.pem", mechanism, &broker.password));
        let message = Message { key: "1".into(), payload: "x".into(), headers: vec![] };
        let publisher = bus.publisher().await.unwrap();
        publisher.publish(&[message]).await.remove(0).unwrap();
        let mut reader = bus.subscribe("a").await.unwrap();
        let taken = timeout(Duration::from_secs(30), reader.poll(1)).await.unwrap().unwrap();
        assert_eq!(taken[0].payload.as_deref(), Some(&b"x"[..]));
        reader.commit(&[taken[0].position]).await.unwrap();
        reader.leave().await;
        assert_eq!(bus.lag("a").await.unwrap(), 0);
        let replayed = bus.replay().await.unwrap().next(9).await.unwrap().unwrap();
        assert_eq!(replayed.len(), 1);
    }
}

/// Checks that the process keeps running, logs the reason without the password, and serves customers without Kafka.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA_TLS_BROKERS"]
async fn the_shop_waits_for_a_kafka_that_refuses_it() {
    let broker = Broker::of_the_gate();
    let of_another = "a-password-of-another";
    for (ca, password, reason) in [
        ("ca.pem", of_another, "SASL authentication error"),
        ("other-ca.pem", &broker.password, "certificate verify failed"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ca = broker.dir.join(ca);
        let settings = [
            ("KAFKA_BROKERS", broker.brokers.as_str()),
            ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
            ("KAFKA_SASL_USERNAME", "shop"),
            ("KAFKA_SASL_PASSWORD", password),
            ("KAFKA_SSL_CA_LOCATION", ca.to_str().unwrap()),
        ];
        let (process, log) = Process::start_logged(dir.path(), &settings);
        process.web.register(1, 10, 5_000).await;
        process.web.add(1, 1, None).await.unwrap();
        let said = eventually("the reason on the log", async || {
            let said = std::fs::read_to_string(&log).unwrap();
            said.contains(reason).then_some(said)
        })
        .await;
        assert!(said.contains(" WARN ") && !said.contains(password), "{said}");
        assert!(process.terminate().await.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA_TLS_BROKERS"]
async fn the_shop_sells_a_cart_over_sasl_ssl() {
    let broker = Broker::of_the_gate();
    let shop = Shop::with(|config| {
        config.kafka_brokers = Some(broker.brokers.clone());
        config.topic.kafka_topic = new_topic();
        config.security = broker.security("ca.pem", Mechanism::ScramSha512, &broker.password);
    })
    .await;
    shop.web.register(1, 10, 5_000).await;
    shop.web.add(1, 1, None).await.unwrap();
    eventually("a payment in the view", async || {
        let page = "/mypages/search/findByCartId?cartId=1";
        let (_, page) = shop.web.ask(Method::GET, page, None).await.ok()?;
        (page["status"] == "PaymentApproved").then_some(())
    })
    .await;
    shop.stop().await;
}
