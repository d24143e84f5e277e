//! The promises of a bus. The same tests run on the embedded log, on librdkafka's mock cluster, and on the real broker of
//! `TEST_KAFKA_BROKERS`.

use async_trait::async_trait;
use chassis::bus::{Bus, Delivery, EmbeddedLog, KafkaBus, Message, Subscription, TopicPosition};
use chassis::testing::server;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

/// How long a test waits for a state. A rebalance of a real group takes a few seconds at most.
const STATE_TIMEOUT: Duration = Duration::from_secs(30);
/// The environment variable with the address of the bus that a child process publishes to.
const CHILD_BUS_VARIABLE: &str = "TEST_BUS_CHILD";

/// One kind of bus.
#[async_trait(?Send)]
trait Kind: Sized {
    /// Returns an empty topic.
    async fn start() -> Self;
    async fn bus(&mut self) -> Arc<dyn Bus>;
    /// Does what a restart of the process does to the bus.
    async fn restart(&mut self);
    /// Returns the address for a child process.
    fn address(&self) -> String;
}

struct Embedded {
    dir: TempDir,
    log: Option<EmbeddedLog>,
}

impl Embedded {
    fn file(&self) -> PathBuf {
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

struct Kafka {
    brokers: String,
    topic: String,
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

#[async_trait(?Send)]
impl Kind for Kafka {
    async fn start() -> Self {
        let brokers = server("TEST_KAFKA_BROKERS");
        Self { brokers, topic: format!("test-{}", Uuid::new_v4()), _mock: None }
    }

    async fn bus(&mut self) -> Arc<dyn Bus> {
        Arc::new(KafkaBus::new(&self.brokers, &self.topic))
    }

    async fn restart(&mut self) {}

    fn address(&self) -> String {
        format!("kafka {} {}", self.brokers, self.topic)
    }
}

/// The mock cluster.
struct Mock(Kafka);

#[async_trait(?Send)]
impl Kind for Mock {
    async fn start() -> Self {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("gifticon", 6, 1).unwrap();
        let brokers = mock.bootstrap_servers();
        Self(Kafka { brokers, topic: "gifticon".into(), _mock: Some(mock) })
    }

    async fn bus(&mut self) -> Arc<dyn Bus> {
        self.0.bus().await
    }

    async fn restart(&mut self) {}

    fn address(&self) -> String {
        self.0.address()
    }
}

macro_rules! on_each_bus {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $test() { super::$test(<super::Embedded as super::Kind>::start().await).await; })*
        }
        mod mock {
            $(#[tokio::test] async fn $test() { super::$test(<super::Mock as super::Kind>::start().await).await; })*
        }
        mod kafka {
            $(#[tokio::test]
            #[ignore = "needs TEST_KAFKA_BROKERS"]
            async fn $test() { super::$test(<super::Kafka as super::Kind>::start().await).await; })*
        }
    };
}

on_each_bus!(
    a_message_arrives_unchanged,
    messages_of_a_key_arrive_in_order,
    a_new_group_sees_history,
    groups_do_not_take_from_each_other,
    messages_that_were_not_committed_are_delivered_again,
    a_restart_resumes_after_the_committed_messages,
    two_members_share_the_work_and_one_takes_over,
    lag_is_what_the_members_have_left,
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
            from.commit(&places(&polled)).await.unwrap();
        }
        taken.extend(polled);
    }
    taken
}

fn places(deliveries: &[Arc<Delivery>]) -> Vec<TopicPosition> {
    deliveries.iter().map(|delivery| delivery.position).collect()
}

fn payloads(deliveries: &[Arc<Delivery>]) -> BTreeSet<String> {
    deliveries.iter().map(|one| String::from_utf8(one.payload.clone().unwrap()).unwrap()).collect()
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
        let number = String::from_utf8(got.payload.clone().unwrap()).unwrap().parse().unwrap();
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
    reader.commit(&places(&first[..1])).await.unwrap();
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
                reader.commit(&places(&polled)).await.unwrap();
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
        two.commit(&places(&polled)).await.unwrap();
        lasts += polled.iter().filter(|one| one.payload.as_deref() == Some(b"last")).count();
    }
}

async fn lag_is_what_the_members_have_left(mut kind: impl Kind) {
    let bus = kind.bus().await;
    let batch = || (0..60).map(|key| message(&key.to_string(), key)).collect::<Vec<_>>();
    send(&bus, &batch()).await;
    let mut one = bus.subscribe("a").await.unwrap();
    take(&mut one, 60, true).await;
    for _ in 0..10 {
        send(&bus, &batch()).await;
    }
    let until = Instant::now() + STATE_TIMEOUT;
    let lag_of = |reader: &dyn Subscription| {
        let monitor = reader.monitor();
        move || monitor().lag
    };
    let lag = lag_of(one.as_ref());
    while lag() != Some(600) {
        assert!(Instant::now() < until, "{:?} of 600", lag());
        let _ = timeout(Duration::from_millis(300), one.poll(500)).await;
    }
    let mut two = bus.subscribe("a").await.unwrap();
    let lag_of_two = lag_of(two.as_ref());
    // Each member reports the lag of its own partitions; with the embedded log, each reports that of both.
    let both = || lag().zip(lag_of_two()).filter(|&(one, two)| one > 0 && two > 0);
    while both().is_none_or(|(one, two)| (one + two) % 600 != 0) {
        assert!(Instant::now() < until, "{:?} and {:?} of 600", lag(), lag_of_two());
        for reader in [&mut one, &mut two] {
            let _ = timeout(Duration::from_millis(300), reader.poll(500)).await;
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
                String::from_utf8(one.payload.clone().unwrap()).unwrap().parse::<u32>().unwrap()
            }));
        }
        reader.leave().await;
        kind.restart().await;
    }
}

/// Not a test: the child process of `acknowledged_messages_survive_kill_9`.
#[tokio::test]
async fn child_publishes_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "the parent sets it")]
    let Ok(address) = std::env::var(CHILD_BUS_VARIABLE) else { return };
    let words: Vec<&str> = address.split(' ').collect();
    let bus: Arc<dyn Bus> = match words[..] {
        ["embedded", file] => Arc::new(EmbeddedLog::open(file.as_ref()).await.unwrap()),
        ["kafka", brokers, topic] => Arc::new(KafkaBus::new(brokers, topic)),
        _ => panic!("an unknown bus: {address}"),
    };
    let publisher = bus.publisher().await.unwrap();
    for number in 0..10_000_u32 {
        for result in publisher.publish(&[message(&(number % 7).to_string(), number)]).await {
            result.unwrap();
        }
        println!("acked {number}");
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out_of_the_embedded_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let _first = EmbeddedLog::open(&file).await.unwrap();
    let error = EmbeddedLog::open(&file).await.err().expect("it is in use");
    assert!(error.to_string().contains("in use"), "{error}");
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
    let Mock(Kafka { brokers, topic, _mock: mock }) = Mock::start().await;
    let (mock, bus) = (mock.unwrap(), Arc::new(KafkaBus::new(&brokers, &topic)) as Arc<dyn Bus>);
    let publisher = bus.publisher().await.unwrap();
    let mut subscription = bus.subscribe("group").await.unwrap();
    publisher.publish(&[message("1", "first")]).await.remove(0).unwrap();
    assert_eq!(payloads(&take(&mut subscription, 1, true).await), ["first".to_owned()].into());

    mock.broker_down(1).unwrap();
    let second = [message("1", "second")];
    let publish =
        async { timeout(STATE_TIMEOUT, publisher.publish(&second)).await.unwrap().remove(0) };
    let back = async {
        let polled = timeout(Duration::from_secs(8), subscription.poll(1)).await;
        mock.broker_up(1).unwrap();
        polled
    };
    let (sent, polled) = tokio::join!(publish, back);
    sent.unwrap();
    assert!(polled.is_err(), "{polled:?}");
    // The first may be delivered again: offsets are committed only twice a second.
    while !payloads(&take(&mut subscription, 1, true).await).contains("second") {}
}
