//! What only Kafka has: partitions that the members of a group share, settings of a topic, brokers that come back.

use crate::kinds::{Kafka, Kind, Mock};
use crate::{STATE_TIMEOUT, message, payloads, positions, send, take};
use chassis::bus::{Message, Subscription};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::ClientConfig;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

on_kafka!(
    two_members_share_the_work_and_one_takes_over,
    each_member_has_the_lag_of_its_own_partitions,
);

async fn two_members_share_the_work_and_one_takes_over(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let mut one = bus.subscribe("a").await.unwrap();
    let mut two = bus.subscribe("a").await.unwrap();
    let (mut count_of_one, mut count_of_two, mut sent) = (0, 0, 0);
    let until = Instant::now() + STATE_TIMEOUT;
    // The group may take a while to rebalance: send until both members got messages.
    while count_of_one == 0 || count_of_two == 0 {
        assert!(Instant::now() < until, "{count_of_one} and {count_of_two} of {sent}");
        let batch: Vec<Message> =
            (0..60).map(|key| message(&key.to_string(), sent + key)).collect();
        send(&bus, &batch).await;
        sent += 60;
        for (reader, count) in [(&mut one, &mut count_of_one), (&mut two, &mut count_of_two)] {
            if let Ok(polled) = timeout(Duration::from_millis(300), reader.poll(500)).await {
                let polled = polled.unwrap();
                reader.commit(&positions(&polled)).await.unwrap();
                *count += polled.len();
            }
        }
    }
    one.leave().await;
    let last: Vec<Message> = (0..60).map(|key| message(&key.to_string(), "last")).collect();
    send(&bus, &last).await;
    let mut lasts = 0;
    while lasts < 60 {
        let polled = timeout_at(until, two.poll(500)).await.expect("the other takes over").unwrap();
        two.commit(&positions(&polled)).await.unwrap();
        lasts += polled.iter().filter(|one| one.payload.as_deref() == Some(b"last")).count();
    }
}

async fn each_member_has_the_lag_of_its_own_partitions(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let batch: Vec<_> = (0..600).map(|key| message(&key.to_string(), key)).collect();
    send(&bus, &batch).await;
    let mut one = bus.subscribe("a").await.unwrap();
    let mut two = bus.subscribe("a").await.unwrap();
    let lag = |reader: &dyn Subscription| {
        let monitor = reader.monitor();
        move || monitor().lag
    };
    let (lag_of_one, lag_of_two) = (lag(one.as_ref()), lag(two.as_ref()));
    let until = Instant::now() + STATE_TIMEOUT;
    let both = || lag_of_one().zip(lag_of_two()).filter(|&(one, two)| one > 0 && two > 0);
    while both().is_none_or(|(one, two)| one + two != 600) {
        assert!(Instant::now() < until, "{:?} and {:?} of 600", lag_of_one(), lag_of_two());
        for reader in [&mut one, &mut two] {
            let _ = timeout(Duration::from_millis(300), reader.poll(500)).await;
        }
    }
}

/// A view is rebuilt from the oldest event, so the topic must keep it.
#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn a_topic_that_we_make_keeps_its_events_for_ever() {
    let mut kafka = Kafka::start().await;
    send(&kafka.bus().await, &[message("1", "first")]).await;
    let mut config = ClientConfig::new();
    let admin: AdminClient<_> = config.set("bootstrap.servers", &kafka.brokers).create().unwrap();
    let topic = ResourceSpecifier::Topic(&kafka.topic);
    let configs = admin.describe_configs([&topic], &AdminOptions::new()).await.unwrap();
    let retention = configs[0].as_ref().unwrap().get("retention.ms").unwrap();
    assert_eq!(retention.value.as_deref(), Some("-1"));
}

/// A client whose broker comes back stays the same, and stays the same member of its group. (`bus/kafka/watchdog.rs` decides when
/// a client is replaced.)
#[tokio::test]
async fn clients_go_on_when_their_broker_is_back() {
    let mut mock = Mock::start().await;
    let bus = mock.bus().await;
    let publisher = bus.publisher().await.unwrap();
    let mut subscription = bus.subscribe("group").await.unwrap();
    publisher.publish(&[message("1", "first")]).await.remove(0).unwrap();
    assert_eq!(payloads(&take(&mut subscription, 1, true).await), ["first".to_owned()].into());

    mock.cluster.broker_down(1).unwrap();
    let second = [message("1", "second")];
    let publish =
        async { timeout(STATE_TIMEOUT, publisher.publish(&second)).await.unwrap().remove(0) };
    let back = async {
        let polled = timeout(Duration::from_secs(8), subscription.poll(1)).await;
        mock.cluster.broker_up(1).unwrap();
        polled
    };
    let (sent, polled) = tokio::join!(publish, back);
    sent.unwrap();
    assert!(polled.is_err(), "{polled:?}");
    // The first may be delivered again: offsets are committed only twice a second.
    while !payloads(&take(&mut subscription, 1, true).await).contains("second") {}
}
