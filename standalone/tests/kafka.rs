//! The shop on a Kafka topic that was created with other settings.

mod common;

use chassis::testing::eventually;
use common::{Shop, server};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn carts_are_paid_on_a_topic_that_is_compressed_with_zstd() {
    let brokers = server("TEST_KAFKA_BROKERS");
    let topic = format!("test-{}", Uuid::new_v4());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let new = NewTopic::new(&topic, 6, TopicReplication::Fixed(1));
    let new = new.set("compression.type", "zstd");
    let made = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert!(made[0].is_ok(), "{made:?}");

    let shop = Shop::with(|config| {
        config.kafka_brokers = Some(brokers.clone());
        config.topic.kafka_topic.clone_from(&topic);
    })
    .await;
    shop.web.register(1, 100, 5_000).await;
    for _ in 0..50 {
        shop.web.add(1, 1, None).await.unwrap();
    }
    eventually("50 payments in the view", async || {
        let pages = shop.web.all("mypages").await.unwrap();
        let paid = pages.iter().filter(|page| page["status"] == "PaymentApproved").count();
        (paid == 50).then_some(())
    })
    .await;
    shop.stop().await;
}
