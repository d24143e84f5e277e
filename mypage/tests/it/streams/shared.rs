//! Replicas share the bound on the streams of each client.

use super::{publish_carts, start_two};
use chassis::Running;
use chassis::base::config::ClientStreams;
use chassis::bus::{Bus, KafkaBus};
use chassis::testing::{TestDb, eventually, server};
use reqwest::{Client, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// Opens streams at a replica until one is refused. Returns how many it took, all of which end.
async fn taken(client: &Client, replica: &Running) -> usize {
    let mut open = Vec::new();
    loop {
        let stream = client.get(format!("{}/mypages/stream", replica.url())).send().await.unwrap();
        match stream.status() {
            StatusCode::OK => open.push(stream),
            StatusCode::TOO_MANY_REQUESTS => return open.len(),
            status => panic!("{status}"),
        }
    }
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL and TEST_KAFKA_BROKERS"]
async fn two_replicas_share_the_streams_of_a_client() {
    let (db, topic) = (TestDb::postgres().await, format!("test-{}", Uuid::new_v4()));
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::new(&server("TEST_KAFKA_BROKERS"), &topic));
    let client_streams = ClientStreams { streams_per_client_max: Some(6) };
    let replicas = start_two(&db, &bus, client_streams).await;
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let [one, other] = &replicas;
    let mut carts = 0;
    eventually("each replica to have its half", async || {
        carts += 20;
        publish_carts(&bus, carts - 19..=carts).await; // a replica is seen when it writes
        sleep(Duration::from_millis(500)).await; // and the streams of before have ended
        ((taken(&client, one).await, taken(&client, other).await) == (3, 3)).then_some(())
    })
    .await;
    for replica in replicas {
        replica.stop(Duration::from_secs(10)).await;
    }
}
