//! Features and faults that only Kafka has: codecs, transactions, deleted records, recreated topics, unreadable batches. On
//! librdkafka's mock cluster, and on the real broker of `TEST_KAFKA_BROKERS`.

use chassis::bus::{
    Bus, Delivery, Health, KafkaBus, Message, ReadError, Subscription, TopicReplay,
};
use chassis::testing::{eventually, server};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// How long a test waits for a state.
const STATE_TIMEOUT: Duration = Duration::from_secs(30);
const TOPIC: &str = "gifticon";

type Mock = MockCluster<'static, DefaultProducerContext>;

/// Returns a mock cluster with a topic of one partition.
fn mock() -> (Mock, KafkaBus) {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(TOPIC, 1, 1).unwrap();
    let bus = KafkaBus::new(&mock.bootstrap_servers(), TOPIC);
    (mock, bus)
}

/// A topic of one partition on the real broker.
struct Real {
    brokers: String,
    topic: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Real {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let brokers = server("TEST_KAFKA_BROKERS");
        let topic = format!("test-{}", Uuid::new_v4());
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let real = Self { brokers, topic, admin };
        real.create(settings).await;
        real
    }

    async fn create(&self, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        // The deletion of a topic with the same name may still run.
        eventually("the topic to be made", async || {
            let made = self.admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
            made.into_iter().all(|topic| topic.is_ok()).then_some(())
        })
        .await;
    }

    async fn delete_topic(&self) {
        let deleted = self.admin.delete_topics(&[self.topic.as_str()], &AdminOptions::new()).await;
        deleted.unwrap().remove(0).unwrap();
    }

    fn bus(&self) -> KafkaBus {
        KafkaBus::new(&self.brokers, &self.topic)
    }

    fn producer(&self, settings: &[(&str, &str)]) -> ThreadedProducer<DefaultProducerContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    /// Sends texts with a producer of these settings, in one transaction if `transactional.id` is set.
    fn send(&self, settings: &[(&str, &str)], payloads: &[&str], commit: bool) {
        let producer = self.producer(settings);
        let transactional = settings.iter().any(|(name, _)| *name == "transactional.id");
        if transactional {
            producer.init_transactions(STATE_TIMEOUT).unwrap();
            producer.begin_transaction().unwrap();
        }
        for payload in payloads {
            producer.send(BaseRecord::to(&self.topic).key("1").payload(*payload)).unwrap();
        }
        producer.flush(STATE_TIMEOUT).unwrap();
        match (transactional, commit) {
            (true, true) => producer.commit_transaction(STATE_TIMEOUT).unwrap(),
            (true, false) => producer.abort_transaction(STATE_TIMEOUT).unwrap(),
            (false, _) => {}
        }
    }
}

fn texts(deliveries: &[Arc<Delivery>]) -> Vec<String> {
    let text =
        |one: &Arc<Delivery>| String::from_utf8(one.payload.as_deref().unwrap().to_vec()).unwrap();
    deliveries.iter().map(text).collect()
}

async fn read_to_end(mut replay: Box<dyn TopicReplay>) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    while let Some(some) = timeout(STATE_TIMEOUT, replay.next(500)).await.expect("it goes on")? {
        all.extend(texts(&some));
    }
    Ok(all)
}

/// Polls and commits until the health is as `wanted`. Returns the messages.
async fn becomes(
    reader: &mut Box<dyn Subscription>,
    what: &str,
    wanted: impl Fn(&Health) -> bool,
) -> Vec<Arc<Delivery>> {
    let (monitor, until) = (reader.monitor(), Instant::now() + STATE_TIMEOUT);
    let mut taken = Vec::new();
    while !wanted(&monitor()) {
        assert!(Instant::now() < until, "waited for {what}: {:?}", monitor());
        if let Ok(polled) = timeout(Duration::from_millis(200), reader.poll(500)).await {
            let polled = polled.unwrap();
            reader
                .commit(&polled.iter().map(|one| one.position).collect::<Vec<_>>())
                .await
                .unwrap();
            taken.extend(polled);
        }
    }
    taken
}

/// Makes the mock broker append a batch with the codec of this number and random bytes as its records.
fn append_unreadable(mock: &Mock, codec: i16) {
    fn string(text: &str) -> Vec<u8> {
        let length = i16::try_from(text.len()).unwrap().to_be_bytes();
        [&length[..], text.as_bytes()].concat()
    }
    fn size(length: usize) -> [u8; 4] {
        i32::try_from(length).unwrap().to_be_bytes()
    }
    let garbage = [0xff_u8; 40];
    let batch = [
        &0_i64.to_be_bytes()[..],  // base offset
        &size(49 + garbage.len()), // length of what follows
        &(-1_i32).to_be_bytes(),   // leader epoch
        &[2],                      // format
        &0_u32.to_be_bytes(),      // checksum
        &codec.to_be_bytes(),      // attributes
        &0_i32.to_be_bytes(),      // offset of the last record
        &[0; 16],                  // first and last time
        &(-1_i64).to_be_bytes(),   // no producer id, epoch and sequence
        &(-1_i16).to_be_bytes(),
        &(-1_i32).to_be_bytes(),
        &1_i32.to_be_bytes(), // one record
        &garbage,
    ]
    .concat();
    let request = [
        &[0, 0, 0, 3][..],    // Produce, version 3
        &7_i32.to_be_bytes(), // correlation id
        &string("test")[..],
        &(-1_i16).to_be_bytes(), // no transaction
        &(-1_i16).to_be_bytes(), // acks
        &1_000_i32.to_be_bytes(),
        &1_i32.to_be_bytes(), // one topic, one partition
        &string(TOPIC)[..],
        &1_i32.to_be_bytes(),
        &0_i32.to_be_bytes(),
        &size(batch.len()),
        &batch,
    ]
    .concat();
    let mut stream = TcpStream::connect(mock.bootstrap_servers()).unwrap();
    stream.write_all(&size(request.len())).unwrap();
    stream.write_all(&request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0_u8; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    // Correlation id, topics, the name, partitions, the partition; then the error.
    let error = 4 + 4 + 2 + TOPIC.len() + 4 + 4;
    assert_eq!(answer[error..error + 2], [0, 0], "the broker took it: {answer:?}");
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_is_counted_and_never_looks_like_no_lag() {
    for (codec, kind) in [(5, ReadError::Unsupported), (2, ReadError::Corrupt)] {
        let (mock, bus) = mock();
        append_unreadable(&mock, codec);
        let mut reader = bus.subscribe("a").await.unwrap();
        assert_eq!(reader.monitor()().lag, None, "nothing was fetched yet");
        let taken = becomes(&mut reader, "a stopped partition", |health| health.stopped == 1).await;
        assert!(taken.is_empty());
        let health = reader.monitor()();
        assert_eq!(health.lag, Some(1), "{health:?}");
        assert!(health.errors[&kind] >= 1, "{health:?}");

        let error = read_to_end(bus.replay().await.unwrap()).await.unwrap_err();
        assert!(error.to_string().contains(kind.label()), "{error}");
        assert_eq!(bus.lag("a").await.unwrap(), 1, "it is not done");
    }
}

#[tokio::test]
async fn a_topic_that_may_not_be_read_has_an_unknown_lag() {
    let (mock, bus) = mock();
    let publisher = bus.publisher().await.unwrap();
    let message = Message { key: "1".into(), payload: "x".into(), headers: vec![] };
    publisher.publish(&[message]).await.remove(0).unwrap();
    let mut reader = bus.subscribe("a").await.unwrap();
    becomes(&mut reader, "no lag", |health| health.lag == Some(0)).await;
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.topic_error(TOPIC, denied).unwrap();
    becomes(&mut reader, "an error", |health| {
        health.errors.contains_key(&ReadError::Authorization) && health.lag != Some(0)
    })
    .await;
}

#[tokio::test]
async fn a_position_that_is_out_of_range_is_counted() {
    let (mock, bus) = mock();
    let publisher = bus.publisher().await.unwrap();
    let message = Message { key: "1".into(), payload: "x".into(), headers: vec![] };
    publisher.publish(&[message]).await.remove(0).unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(TOPIC, 0, Offset::Offset(70)).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", mock.bootstrap_servers()).set("group.id", "a");
    let committer: BaseConsumer = config.create().unwrap();
    committer.commit(&places, CommitMode::Sync).unwrap();

    let mut reader = bus.subscribe("a").await.unwrap();
    let taken = becomes(&mut reader, "the message", |health| health.lag == Some(0)).await;
    assert_eq!(texts(&taken), ["x"], "reading goes on at the oldest message");
    assert!(reader.monitor()().errors[&ReadError::OffsetOutOfRange] >= 1);
}

#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn every_codec_is_read() {
    // With a codec of the topic, the broker compresses all messages again; otherwise the codec of the producer is kept.
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let by_topic = Real::start(&[("compression.type", codec)]).await;
        let by_producer = Real::start(&[]).await;
        by_topic.send(&[], &["first", "second"], true);
        by_producer.send(&[("compression.type", codec)], &["first", "second"], true);
        for real in [by_topic, by_producer] {
            let mut reader = real.bus().subscribe("a").await.unwrap();
            let taken = becomes(&mut reader, codec, |health| health.lag == Some(0)).await;
            assert_eq!(texts(&taken), ["first", "second"], "{codec}");
            assert_eq!(read_to_end(real.bus().replay().await.unwrap()).await.unwrap().len(), 2);
            reader.leave().await;
        }
    }
}

/// The last record of the partition is a marker, or messages that are never delivered.
#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn a_transaction_at_the_end_is_no_lag_and_ends_a_replay() {
    for commit in [true, false] {
        let real = Real::start(&[]).await;
        real.send(&[], &["plain"], true);
        let id = Uuid::new_v4().to_string();
        real.send(&[("transactional.id", &id)], &["in a transaction"], commit);
        let expected: &[&str] = if commit { &["plain", "in a transaction"] } else { &["plain"] };

        assert_eq!(read_to_end(real.bus().replay().await.unwrap()).await.unwrap(), expected);
        assert_eq!(real.bus().lag("a").await.unwrap(), 3, "two messages and a marker");
        let mut reader = real.bus().subscribe("a").await.unwrap();
        let taken = becomes(&mut reader, "no lag", |health| health.lag == Some(0)).await;
        assert_eq!(texts(&taken), expected);
        reader.leave().await;
        assert_eq!(real.bus().lag("a").await.unwrap(), 0);
    }
}

#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn a_replay_ends_where_records_were_deleted() {
    for (deleted, left) in [(2, &["third"][..]), (3, &[])] {
        let real = Real::start(&[]).await;
        real.send(&[], &["first", "second", "third"], true);
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&real.topic, 0, Offset::Offset(deleted)).unwrap();
        real.admin.delete_records(&before, &AdminOptions::new()).await.unwrap();
        assert_eq!(read_to_end(real.bus().replay().await.unwrap()).await.unwrap(), left);
        assert_eq!(real.bus().lag("a").await.unwrap(), i64::try_from(left.len()).unwrap());
    }
}

#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn a_replay_ends_when_its_topic_is_recreated() {
    let real = Real::start(&[]).await;
    let many: Vec<String> = (0..5_000).map(|number| format!("{number}")).collect();
    real.send(&[], &many.iter().map(String::as_str).collect::<Vec<_>>(), true);
    let mut replay = real.bus().replay().await.unwrap();
    replay.next(1).await.unwrap();
    real.delete_topic().await;
    real.create(&[]).await;
    real.send(&[], &["new"], true);
    // The replay returns the fetched messages, those of the new topic, or an error, and then ends.
    let _ = read_to_end(replay).await;
}

#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn a_tombstone_is_not_an_empty_message() {
    let real = Real::start(&[]).await;
    let producer = real.producer(&[]);
    producer.send(BaseRecord::<str, str>::to(&real.topic).key("1")).unwrap();
    producer.send(BaseRecord::to(&real.topic).key("1").payload("")).unwrap();
    producer.flush(STATE_TIMEOUT).unwrap();
    let mut reader = real.bus().subscribe("a").await.unwrap();
    let taken = becomes(&mut reader, "both", |health| health.lag == Some(0)).await;
    let payloads: Vec<_> = taken.iter().map(|one| one.payload.as_deref()).collect();
    assert_eq!(payloads, [None, Some(&b""[..])]);
}
