//! The promises of a tail, which the live stream reads.

use crate::kinds::{Embedded, Kafka, Kind, Mock};
use crate::{CHILD_BUS_VARIABLE, STATE_TIMEOUT, bus_of_the_parent, message, payloads, send, take};
use chassis::bus::{Delivery, Message, TopicPosition, TopicTail};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The most that a test reads at once.
const READ_MAX: usize = 7;
/// What is sent past a tail that does not read: messages of a kilobyte, and how much memory they may take.
const UNREAD_MESSAGES: usize = 60_000;
const UNREAD_KILOBYTES_MAX: u64 = 30_000;

on_each_bus!(
    a_tail_begins_with_the_newest_messages_and_goes_on,
    a_tail_of_an_empty_topic_gets_the_first_message,
    each_tail_gets_each_message_once_and_those_of_a_key_in_order,
    a_tail_is_in_no_group_and_moves_none,
);

/// Reads the tail until it has returned `wanted`.
async fn follow(tail: &mut Box<dyn TopicTail>, wanted: &str) -> Vec<Arc<Delivery>> {
    let mut read = Vec::new();
    while !payloads(&read).contains(wanted) {
        let next = timeout(STATE_TIMEOUT, tail.next(READ_MAX)).await.expect("it comes").unwrap();
        assert!((1..=READ_MAX).contains(&next.len()), "{} at once", next.len());
        read.extend(next);
    }
    read
}

fn number(delivery: &Delivery) -> u32 {
    str::from_utf8(delivery.payload.as_deref().unwrap()).unwrap().parse().unwrap()
}

async fn a_tail_begins_with_the_newest_messages_and_goes_on(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let old: Vec<_> = (0..100).map(|number| message("key", number)).collect();
    send(&bus, &old).await;
    let mut tail = bus.tail(12).await.unwrap();
    let newest = follow(&mut tail, "99").await;
    assert!((2..=12).contains(&newest.len()), "{} of all partitions", newest.len());
    let TopicPosition { partition, offset } = newest[0].position;
    assert_eq!(tail.start()[&partition], offset);
    let silent = timeout(Duration::from_millis(300), tail.next(READ_MAX)).await;
    assert!(silent.is_err(), "there is nothing yet");
    send(&bus, &[message("key", "next")]).await;
    assert_eq!(follow(&mut tail, "next").await.len(), 1);
    let mut from_the_end = bus.tail(0).await.unwrap();
    send(&bus, &[message("key", "last")]).await;
    assert_eq!(follow(&mut from_the_end, "last").await.len(), 1);
}

async fn a_tail_of_an_empty_topic_gets_the_first_message(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let mut tail = bus.tail(60).await.unwrap();
    assert!(tail.start().values().all(|offset| *offset == 0), "{:?}", tail.start());
    send(&bus, &[message("1", "first")]).await;
    let read = follow(&mut tail, "first").await;
    assert_eq!((read.len(), read[0].position.offset), (1, 0));
}

/// Three readers at a time, whose reads are given up again and again, as those of the live stream are.
async fn each_tail_gets_each_message_once_and_those_of_a_key_in_order(mut kind: impl Kind) {
    let bus = kind.bus().await;
    send(&bus, &[message("0", "before")]).await;
    let mut tails = Vec::new();
    for _ in 0..3 {
        tails.push((bus.tail(0).await.unwrap(), Vec::<Arc<Delivery>>::new()));
    }
    let batch =
        |from: u32| (from..from + 100).map(|number| message(&(number % 20).to_string(), number));
    let sender = {
        let (bus, batches) = (Arc::clone(&bus), (0..20).map(move |each| batch(each * 100)));
        tokio::spawn(async move {
            for batch in batches {
                send(&bus, &batch.collect::<Vec<_>>()).await;
            }
        })
    };
    let until = Instant::now() + STATE_TIMEOUT;
    while tails.iter().any(|(_, read)| read.len() < 2_000) {
        assert!(Instant::now() < until, "not all came");
        for (tail, read) in &mut tails {
            if let Ok(next) = timeout(Duration::from_millis(1), tail.next(READ_MAX)).await {
                read.extend(next.unwrap());
            }
        }
    }
    sender.await.unwrap();
    for (mut tail, read) in tails {
        let more = timeout(Duration::from_millis(300), tail.next(READ_MAX)).await;
        assert!(more.is_err(), "more than was sent: {more:?}");
        let (mut by_key, mut last) = (BTreeMap::<String, Vec<u32>>::new(), BTreeMap::new());
        for one in read {
            let TopicPosition { partition, offset } = one.position;
            assert!(last.insert(partition, offset).is_none_or(|before| before < offset));
            by_key.entry(one.key.clone().unwrap()).or_default().push(number(&one));
        }
        for (key, numbers) in by_key {
            let first = key.parse().unwrap();
            assert_eq!(numbers, (first..2_000).step_by(20).collect::<Vec<_>>(), "key {key}");
        }
    }
}

/// `tail` is the name that the client of Kafka wants to have for a group.
async fn a_tail_is_in_no_group_and_moves_none(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let batch: Vec<Message> = (0..60).map(|key| message(&key.to_string(), key)).collect();
    let mut tail = bus.tail(0).await.unwrap();
    send(&bus, &batch).await;
    let mut read = Vec::new();
    while read.len() < batch.len() {
        read.extend(timeout(STATE_TIMEOUT, tail.next(READ_MAX)).await.unwrap().unwrap());
    }
    for group in ["tail", "a"] {
        let mut reader = bus.subscribe(group).await.unwrap();
        assert_eq!(payloads(&take(&mut reader, 60, true).await), payloads(&read), "{group}");
        reader.leave().await;
    }
    send(&bus, &[message("1", "next")]).await;
    assert_eq!(follow(&mut tail, "next").await.len(), 1, "nor does a group move the tail");
}

#[tokio::test]
async fn a_tail_goes_on_when_its_broker_is_back() {
    let mut mock = Mock::start().await;
    let bus = mock.bus().await;
    let publisher = bus.publisher().await.unwrap();
    let mut tail = bus.tail(0).await.unwrap();
    publisher.publish(&[message("1", "first")]).await.remove(0).unwrap();
    follow(&mut tail, "first").await;

    mock.cluster.broker_down(1).unwrap();
    let away = timeout(Duration::from_secs(3), tail.next(READ_MAX)).await;
    assert!(away.is_err(), "a short outage is waited for: {away:?}");
    mock.cluster.broker_up(1).unwrap();
    publisher.publish(&[message("1", "second")]).await.remove(0).unwrap();
    let read = follow(&mut tail, "second").await;
    assert_eq!(payloads(&read), ["second".to_owned()].into(), "each comes once");
}

#[tokio::test]
async fn a_slow_tail_of_the_embedded_log_is_bounded() {
    a_slow_tail_is_bounded(&Embedded::start().await);
}

// Not on the mock cluster, which keeps 5 MB of a partition.
#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn a_slow_tail_of_kafka_is_bounded() {
    a_slow_tail_is_bounded(&Kafka::start().await);
}

/// Has a process of its own, because it measures memory.
fn a_slow_tail_is_bounded(kind: &impl Kind) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tail::child_follows_slowly", "--nocapture"])
        .env(CHILD_BUS_VARIABLE, kind.address())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

/// Returns the memory that this process has, without files that are mapped.
fn kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Not a test: the child process of `a_slow_tail_is_bounded`.
#[tokio::test]
async fn child_follows_slowly() {
    let Some(bus) = bus_of_the_parent().await else { return };
    let mut tail = bus.tail(0).await.unwrap();
    let text = "x".repeat(1_000);
    let batch: Vec<Message> = (0..5_000).map(|key| message(&key.to_string(), &text)).collect();
    send(&bus, &batch).await;
    timeout(STATE_TIMEOUT, tail.next(1)).await.unwrap().unwrap();
    let (before, mut read) = (kilobytes(), 1);
    for _ in 1..UNREAD_MESSAGES / batch.len() {
        send(&bus, &batch).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // the client reads ahead
    let grown = kilobytes().saturating_sub(before);
    assert!(grown < UNREAD_KILOBYTES_MAX, "{grown} kB for what nobody has read yet");
    while read < UNREAD_MESSAGES {
        read += timeout(STATE_TIMEOUT, tail.next(1_000)).await.expect("all come").unwrap().len();
    }
    assert_eq!(read, UNREAD_MESSAGES);
}
