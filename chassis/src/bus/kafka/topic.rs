//! What is asked about a topic, and making it.

use crate::bus::kafka::aside::drop_aside;
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

/// Partitions of a topic that we make. An existing one is used as it is.
const PARTITIONS: i32 = 6;
/// How long the broker may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Keeps why the last connection failed: a wrong password, a certificate that is not trusted. The error of a request
/// says only that it got no answer.
#[derive(Clone, Default)]
pub(super) struct LastFailure {
    reason: Arc<Mutex<Option<String>>>,
    tokens: Tokens,
}

impl LastFailure {
    pub(super) fn new(tokens: Tokens) -> Self {
        Self { reason: Arc::default(), tokens }
    }

    /// Returns the reason, if there was a failure.
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

/// Makes the topic if it is missing. With OAUTHBEARER that fails.
pub(super) async fn make(
    config: &ClientConfig,
    topic: &str,
    failure: LastFailure,
) -> anyhow::Result<()> {
    let by_token = failure.tokens.are_used();
    // A producer, since the client for admins is not told why a connection failed.
    let client: FutureProducer<LastFailure> = config.create_with_context(failure)?;
    let name = topic.to_owned();
    // All topics, since asking for one would have some brokers make it with their own defaults.
    let there = tokio::task::spawn_blocking(move || {
        let all = client.client().fetch_metadata(None, ANSWER)?;
        drop_aside(client);
        let there =
            all.topics().iter().any(|one| one.name() == name && !one.partitions().is_empty());
        Ok::<_, KafkaError>(there)
    })
    .await??;
    if there {
        return Ok(());
    }
    if by_token {
        // Nothing serves the events of the Rust client for admins, so it never gets a token (rust-rdkafka issue 757).
        anyhow::bail!(
            "the topic {topic} is missing, and cannot be made with OAUTHBEARER: make it by hand, with {PARTITIONS} \
             partitions, retention.ms=-1 and message.timestamp.type=LogAppendTime"
        );
    }
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    // For ever: a view can then be rebuilt from the oldest event on. Brokers' own default is a week.
    let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1))
        .set("retention.ms", "-1")
        // By default a broker refuses a message from a clock that is an hour ahead of its own.
        .set("message.timestamp.type", "LogAppendTime");
    let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
    for made in admin.create_topics([&new], &options).await? {
        match made {
            Ok(_) => info!(topic, "made the topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => anyhow::bail!("cannot make the topic {topic}: {code}"),
        }
    }
    Ok(())
}

/// Returns the low and the high watermark of each partition of a topic: the offsets of the oldest message and of the
/// next one. Blocks.
pub(super) fn watermarks<X: ConsumerContext>(
    client: &impl Consumer<X>,
    topic: &str,
) -> Result<BTreeMap<i32, (i64, i64)>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), ANSWER)?;
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    let of = |partition: &MetadataPartition| {
        let watermarks = client.fetch_watermarks(topic, partition.id(), ANSWER)?;
        Ok((partition.id(), watermarks))
    };
    partitions.map(of).collect()
}

/// Returns how many offsets are between what the group of `member` committed and the end of the topic. Blocks.
pub(super) fn lag<X: ConsumerContext>(
    member: &BaseConsumer<X>,
    topic: &str,
) -> Result<i64, KafkaError> {
    let watermarks = watermarks(member, topic)?;
    let mut places = TopicPartitionList::new();
    for partition in watermarks.keys() {
        places.add_partition(topic, *partition);
    }
    let mut lag = 0;
    for place in member.committed_offsets(places, ANSWER)?.elements() {
        let (low, high) = watermarks[&place.partition()];
        let done = match place.offset() {
            Offset::Offset(done) if (low..=high).contains(&done) => done,
            _ => low, // there is none, or it is not in the partition any more
        };
        lag += high - done;
    }
    Ok(lag)
}
