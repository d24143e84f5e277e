//! Creating a topic, and its watermarks and lag.

use crate::bus::kafka::close::drop_on_thread;
use crate::bus::kafka::tokens::Tokens;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{debug, info};

/// The partitions of a topic that we create.
const PARTITIONS: i32 = 6;
/// Upper bound for a response of the broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps the reason of the last failed connection, such as a wrong password or an untrusted certificate. The error of a
/// request says only that there was no response.
#[derive(Clone, Default)]
pub(super) struct LastFailure {
    reason: Arc<Mutex<Option<String>>>,
    tokens: Tokens,
}

impl LastFailure {
    pub(super) fn new(tokens: Tokens) -> Self {
        Self { reason: Arc::default(), tokens }
    }

    /// Returns the reason, if a connection failed.
    pub(super) fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for LastFailure {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.latest()
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        debug!(target: "librdkafka", facility, line);
    }
}

impl ConsumerContext for LastFailure {}

/// Creates the topic if it is missing. An existing one stays as it is.
///
/// # Errors
/// The broker cannot be reached, or the topic is missing and cannot be created: with OAUTHBEARER never.
pub(super) async fn create(
    config: &ClientConfig,
    topic: &str,
    failure: LastFailure,
) -> anyhow::Result<()> {
    let uses_tokens = failure.tokens.are_used();
    // A producer, because the admin client does not report why a connection failed.
    let client: FutureProducer<LastFailure> = config.create_with_context(failure)?;
    let name = topic.to_owned();
    // Fetches all topics: some brokers create a topic that is asked for by name, with their own defaults.
    let exists = tokio::task::spawn_blocking(move || {
        let all = client.client().fetch_metadata(None, BROKER_TIMEOUT)?;
        drop_on_thread(client);
        let exists =
            all.topics().iter().any(|topic| topic.name() == name && !topic.partitions().is_empty());
        Ok::<_, KafkaError>(exists)
    })
    .await??;
    if exists {
        return Ok(());
    }
    if uses_tokens {
        // The Rust admin client never polls its events, so it never gets a token:
        // https://github.com/fede1024/rust-rdkafka/issues/757
        anyhow::bail!(
            "the topic {topic} is missing, and cannot be made with OAUTHBEARER: make it by hand, with {PARTITIONS} \
             partitions, retention.ms=-1 and message.timestamp.type=LogAppendTime"
        );
    }
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    // Messages are kept forever, so that a view can be rebuilt from the oldest event. The default of brokers is a week.
    let topic_settings = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1))
        .set("retention.ms", "-1")
        // By default a broker refuses a message from a clock that is an hour ahead of its own.
        .set("message.timestamp.type", "LogAppendTime");
    let options = AdminOptions::new()
        .operation_timeout(Some(BROKER_TIMEOUT))
        .request_timeout(Some(BROKER_TIMEOUT));
    for created in admin.create_topics([&topic_settings], &options).await? {
        match created {
            Ok(_) => info!(topic, "made the topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => anyhow::bail!("cannot make the topic {topic}: {code}"),
        }
    }
    Ok(())
}

/// Returns the low and the high watermark of each partition of a topic: the offset of the oldest message, and the offset that
/// the next message will get. Blocks.
pub(super) fn watermarks<X: ConsumerContext>(
    client: &impl Consumer<X>,
    topic: &str,
) -> Result<BTreeMap<i32, (i64, i64)>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), BROKER_TIMEOUT)?;
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    let watermarks = |partition: &MetadataPartition| {
        let watermarks = client.fetch_watermarks(topic, partition.id(), BROKER_TIMEOUT)?;
        Ok((partition.id(), watermarks))
    };
    partitions.map(watermarks).collect()
}

/// Returns the number of offsets from those that the group of `member` committed to the high watermarks. Blocks.
pub(super) fn lag<X: ConsumerContext>(
    member: &BaseConsumer<X>,
    topic: &str,
) -> Result<i64, KafkaError> {
    let watermarks = watermarks(member, topic)?;
    let mut partitions = TopicPartitionList::new();
    for partition in watermarks.keys() {
        partitions.add_partition(topic, *partition);
    }
    let mut lag = 0;
    for element in member.committed_offsets(partitions, BROKER_TIMEOUT)?.elements() {
        let (low, high) = watermarks[&element.partition()];
        let committed = match element.offset() {
            Offset::Offset(offset) if (low..=high).contains(&offset) => offset,
            _ => low, // nothing was committed, or the offset is not in the partition any more
        };
        lag += high - committed;
    }
    Ok(lag)
}
