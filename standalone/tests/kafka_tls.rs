//! The shop on a Kafka that wants TLS and SASL. `.ci/run` starts one with `.ci/kafka-up` and says where it is.

mod common;
#[path = "kafka_tls/oauth.rs"]
mod oauth;

use chassis::base::config::{KafkaSecurity, Mechanism, Protocol, Secret};
use chassis::bus::{Bus, KafkaBus, Message};
use chassis::testing::eventually;
use common::Shop;
use common::process::Process;
use reqwest::Method;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// The broker: its address, the folder with its CA (`ca.pem`) and another that it knows nothing of (`other-ca.pem`), the
/// key that signs its tokens (`tokens.key`), and the password of the user `shop`.
struct Broker {
    brokers: String,
    dir: PathBuf,
    password: String,
}

impl Broker {
    fn find() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests find their servers by environment")]
        let of = |name| std::env::var(name).ok();
        let Some(brokers) = of("TEST_KAFKA_TLS_BROKERS") else {
            eprintln!("skipped: TEST_KAFKA_TLS_BROKERS is unset");
            return None;
        };
        let dir = of("TEST_KAFKA_TLS_DIR").expect("it goes with the brokers").into();
        let password = of("TEST_KAFKA_TLS_PASSWORD").expect("it goes with the brokers");
        Some(Self { brokers, dir, password })
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
async fn messages_go_through_tls_by_scram_and_by_plain() {
    let Some(broker) = Broker::find() else { return };
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

/// The process stays, says why once on its log, without the password, and customers go on shopping without Kafka.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_waits_for_a_kafka_that_does_not_let_it_in() {
    let Some(broker) = Broker::find() else { return };
    let of_another = "a-password-of-another";
    for (ca, password, reason) in [
        ("ca.pem", of_another, "SASL authentication error"),
        ("other-ca.pem", &broker.password, "certificate verify failed"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (ca, log) = (broker.dir.join(ca), dir.path().join("stderr"));
        let settings = [
            ("KAFKA_BROKERS", broker.brokers.as_str()),
            ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
            ("KAFKA_SASL_USERNAME", "shop"),
            ("KAFKA_SASL_PASSWORD", password),
            ("KAFKA_SSL_CA_LOCATION", ca.to_str().unwrap()),
            ("RUST_LOG", "warn"),
        ];
        let stderr = std::fs::File::create(&log).unwrap().into();
        let process = Process::start_with(dir.path(), &settings, stderr);
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
async fn the_shop_sells_a_cart_over_sasl_ssl() {
    let Some(broker) = Broker::find() else { return };
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
