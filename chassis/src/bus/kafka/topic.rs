//! What is asked about a topic, and making it.

use super::super::Place;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;
use tracing::info;

/// Partitions of a topic that we make. An existing one is used as it is.
const PARTITIONS: i32 = 6;
/// How long the broker may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Makes the topic if it is missing.
pub(super) async fn make(config: &ClientConfig, topic: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let name = topic.to_owned();
    // All topics, since asking for one would have some brokers make it with their own defaults.
    let (admin, there) = tokio::task::spawn_blocking(move || {
        let all = admin.inner().fetch_metadata(None, ANSWER)?;
        let there =
            all.topics().iter().any(|one| one.name() == name && !one.partitions().is_empty());
        Ok::<_, KafkaError>((admin, there))
    })
    .await??;
    if there {
        return Ok(());
    }
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

/// The last message of each partition of a topic that has any. Blocks.
pub(super) fn last_messages(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
) -> Result<Vec<Place>, KafkaError> {
    let metadata = admin.inner().fetch_metadata(Some(topic), ANSWER)?;
    let mut places = Vec::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        let (low, high) = admin.inner().fetch_watermarks(topic, partition.id(), ANSWER)?;
        if high > low {
            places.push(Place { partition: partition.id(), offset: high - 1 });
        }
    }
    Ok(places)
}

/// Messages between what the group of `member` committed and the end of the topic. Blocks.
pub(super) fn lag(member: &BaseConsumer, topic: &str) -> Result<i64, KafkaError> {
    let metadata = member.fetch_metadata(Some(topic), ANSWER)?;
    let mut places = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        places.add_partition(topic, partition.id());
    }
    let mut lag = 0;
    for place in member.committed_offsets(places, ANSWER)?.elements() {
        let (first, end) = member.fetch_watermarks(topic, place.partition(), ANSWER)?;
        let done = if let Offset::Offset(done) = place.offset() { done } else { first };
        lag += end - done;
    }
    Ok(lag)
}
