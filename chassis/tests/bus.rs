//! The promises of a bus. The same tests run on the embedded log, on librdkafka's mock cluster, and on the real broker at
//! `TEST_KAFKA_BROKERS`, as in the gate. What only some have is tested for those only.

#[macro_use]
#[path = "bus/kinds.rs"]
mod kinds;
#[path = "bus/embedded_only.rs"]
mod embedded_only;
#[path = "bus/kafka_only.rs"]
mod kafka_only;
#[path = "bus/tail.rs"]
mod tail;

use chassis::bus::{Bus, Delivery, EmbeddedLog, KafkaBus, Message, Subscription, TopicPosition};
use kinds::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

/// How long a test waits for a state. A rebalance of a real group takes a few seconds at most.
const STATE_TIMEOUT: Duration = Duration::from_secs(30);
/// The environment variable with the address of the bus of a child process.
const CHILD_BUS_VARIABLE: &str = "TEST_BUS_CHILD";

on_each_bus!(
    a_message_arrives_unchanged,
    messages_of_a_key_arrive_in_order,
    a_new_group_sees_history,
    groups_do_not_take_from_each_other,
    messages_that_were_not_committed_are_delivered_again,
    a_restart_resumes_after_the_committed_messages,
    lag_is_what_a_reader_has_left,
    a_replay_ends_where_the_topic_ended_and_moves_no_group,
    acknowledged_messages_survive_kill_9,
);

fn message(key: &str, payload: impl std::fmt::Display) -> Message {
    Message { key: key.into(), payload: payload.to_string(), headers: vec![] }
}

async fn send(bus: &Arc<dyn Bus>, messages: &[Message]) {
    let publisher = bus.publisher().await.unwrap();
    for result in publisher.publish(messages).await {
        result.unwrap();
    }
}

/// Polls until `count` messages were delivered, and commits them if `done`.
async fn take(from: &mut Box<dyn Subscription>, count: usize, done: bool) -> Vec<Arc<Delivery>> {
    let until = Instant::now() + STATE_TIMEOUT;
    let mut taken = Vec::new();
    while taken.len() < count {
        let polled = timeout_at(until, from.poll(500)).await;
        let polled =
            polled.unwrap_or_else(|_| panic!("only {} of {count} came", taken.len())).unwrap();
        if done {
            from.commit(&positions(&polled)).await.unwrap();
        }
        taken.extend(polled);
    }
    taken
}

fn positions(deliveries: &[Arc<Delivery>]) -> Vec<TopicPosition> {
    deliveries.iter().map(|delivery| delivery.position).collect()
}

fn payloads(deliveries: &[Arc<Delivery>]) -> BTreeSet<String> {
    deliveries
        .iter()
        .map(|one| String::from_utf8(one.payload.as_deref().unwrap().to_vec()).unwrap())
        .collect()
}

async fn a_message_arrives_unchanged(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let sent = Message {
        key: "7".into(),
        payload: r#"{"name":"아메리카노"}"#.into(),
        headers: vec![("ce_id".into(), "1".into()), ("traceparent".into(), "t".into())],
    };
    send(&bus, std::slice::from_ref(&sent)).await;
    let mut reader = bus.subscribe("a").await.unwrap();
    let [got] = &take(&mut reader, 1, true).await[..] else { panic!("one was sent") };
    assert_eq!(got.key.as_deref(), Some("7"));
    assert_eq!(got.payload.as_deref(), Some(sent.payload.as_bytes()));
    assert_eq!(got.headers, sent.headers);
    assert!(got.timestamp > 1_700_000_000_000, "the time is in milliseconds: {}", got.timestamp);
}

async fn messages_of_a_key_arrive_in_order(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let keys: Vec<String> = (0..20).map(|key| key.to_string()).collect();
    for round in 0..10 {
        let batch = (0..10).flat_map(|n| keys.iter().map(move |key| message(key, round * 10 + n)));
        send(&bus, &batch.collect::<Vec<_>>()).await;
    }
    let mut reader = bus.subscribe("a").await.unwrap();
    let mut by_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for got in take(&mut reader, 2_000, true).await {
        let number = str::from_utf8(got.payload.as_deref().unwrap()).unwrap().parse().unwrap();
        by_key.entry(got.key.clone().unwrap()).or_default().push(number);
    }
    assert_eq!(by_key.len(), 20);
    for numbers in by_key.values() {
        assert_eq!(*numbers, (0..100).collect::<Vec<_>>());
    }
}

async fn a_new_group_sees_history(mut kind: impl Kind) {
    let bus = kind.bus().await;
    send(&bus, &[message("1", "before")]).await;
    let mut reader = bus.subscribe("late").await.unwrap();
    assert_eq!(payloads(&take(&mut reader, 1, true).await), ["before".to_owned()].into());
}

async fn groups_do_not_take_from_each_other(mut kind: impl Kind) {
    let bus = kind.bus().await;
    send(&bus, &[message("1", "both")]).await;
    for group in ["a", "b"] {
        let mut reader = bus.subscribe(group).await.unwrap();
        assert_eq!(payloads(&take(&mut reader, 1, true).await), ["both".to_owned()].into());
    }
}

async fn messages_that_were_not_committed_are_delivered_again(mut kind: impl Kind) {
    let bus = kind.bus().await;
    send(&bus, &[message("1", "x"), message("1", "y")]).await;
    let mut reader = bus.subscribe("a").await.unwrap();
    let first = take(&mut reader, 2, false).await;
    reader.commit(&positions(&first[..1])).await.unwrap();
    reader.leave().await;
    drop(bus);
    kind.restart().await;

    let mut reader = kind.bus().await.subscribe("a").await.unwrap();
    let again = take(&mut reader, 1, false).await;
    assert_eq!(again[0].position, first[1].position);
}

async fn a_restart_resumes_after_the_committed_messages(mut kind: impl Kind) {
    let bus = kind.bus().await;
    send(&bus, &[message("1", "old")]).await;
    let mut reader = bus.subscribe("a").await.unwrap();
    take(&mut reader, 1, true).await;
    reader.leave().await;
    drop(bus);
    kind.restart().await;

    let bus = kind.bus().await;
    send(&bus, &[message("1", "new")]).await;
    let mut reader = bus.subscribe("a").await.unwrap();
    assert_eq!(payloads(&take(&mut reader, 1, true).await), ["new".to_owned()].into());
}

async fn lag_is_what_a_reader_has_left(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let batch = |count| (0..count).map(|key| message(&key.to_string(), key)).collect::<Vec<_>>();
    send(&bus, &batch(60)).await;
    let mut reader = bus.subscribe("a").await.unwrap();
    let lag = reader.monitor();
    take(&mut reader, 60, true).await;
    send(&bus, &batch(600)).await;
    let mut polled = Vec::new();
    for left in [600, 0] {
        let until = Instant::now() + STATE_TIMEOUT;
        while lag().lag != Some(left) {
            assert!(Instant::now() < until, "{:?} of {left}", lag().lag);
            if let Ok(more) = timeout(Duration::from_millis(300), reader.poll(500)).await {
                polled.extend(positions(&more.unwrap()));
            }
            if left == 0 {
                reader.commit(&polled).await.unwrap();
            }
        }
    }
}

async fn a_replay_ends_where_the_topic_ended_and_moves_no_group(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let batch = |from| (from..from + 60).map(|key: i32| message(&key.to_string(), key));
    let mut empty = bus.replay().await.unwrap();
    assert!(timeout(STATE_TIMEOUT, empty.next(500)).await.unwrap().unwrap().is_none());
    send(&bus, &batch(0).collect::<Vec<_>>()).await;
    let mut replay = bus.replay().await.unwrap();
    send(&bus, &batch(60).collect::<Vec<_>>()).await;
    let mut all = Vec::new();
    while let Some(some) = timeout(STATE_TIMEOUT, replay.next(7)).await.expect("it ends").unwrap() {
        all.extend(some);
    }
    let all = payloads(&all);
    assert!((0..60).all(|number| all.contains(&number.to_string())), "{all:?}");
    let mut reader = bus.subscribe("a").await.unwrap();
    assert_eq!(payloads(&take(&mut reader, 120, true).await).len(), 120);
}

/// A child publishes numbers and prints those that were acknowledged, until it is killed.
async fn acknowledged_messages_survive_kill_9(mut kind: impl Kind) {
    for after in [1, 20, 200] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_publishes_until_it_is_killed", "--nocapture"])
            .env(CHILD_BUS_VARIABLE, kind.address())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let numbers =
            |line: std::io::Result<String>| line.ok()?.strip_prefix("acked ")?.parse::<u32>().ok();
        let mut acked: Vec<u32> = Vec::new();
        let mut lines = lines.filter_map(numbers);
        acked.extend(lines.by_ref().take(after));
        child.kill().unwrap();
        acked.extend(lines); // what it had printed by then
        child.wait().unwrap();
        assert!(acked.len() >= after, "the child ended by itself");

        let mut reader = kind.bus().await.subscribe(&Uuid::new_v4().to_string()).await.unwrap();
        let until = Instant::now() + STATE_TIMEOUT;
        let mut found = BTreeSet::new();
        while !acked.iter().all(|number| found.contains(number)) {
            let polled =
                timeout_at(until, reader.poll(500)).await.expect("all that was acked").unwrap();
            found.extend(polled.iter().map(|one| {
                str::from_utf8(one.payload.as_deref().unwrap()).unwrap().parse::<u32>().unwrap()
            }));
        }
        reader.leave().await;
        kind.restart().await;
    }
}

/// Returns the bus that the parent of this process names, if it has one.
async fn bus_of_the_parent() -> Option<Arc<dyn Bus>> {
    #[expect(clippy::disallowed_methods, reason = "the parent sets it")]
    let address = std::env::var(CHILD_BUS_VARIABLE).ok()?;
    let words: Vec<&str> = address.split(' ').collect();
    Some(match words[..] {
        ["embedded", file] => Arc::new(EmbeddedLog::open(file.as_ref()).await.unwrap()),
        ["kafka", brokers, topic] => Arc::new(KafkaBus::new(brokers, topic)),
        _ => panic!("an unknown bus: {address}"),
    })
}

/// Not a test: the child process of `acknowledged_messages_survive_kill_9`.
#[tokio::test]
async fn child_publishes_until_it_is_killed() {
    let Some(bus) = bus_of_the_parent().await else { return };
    let publisher = bus.publisher().await.unwrap();
    for number in 0..10_000_u32 {
        for result in publisher.publish(&[message(&(number % 7).to_string(), number)]).await {
            result.unwrap();
        }
        println!("acked {number}");
    }
}
