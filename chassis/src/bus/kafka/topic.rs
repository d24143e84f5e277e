//! What is asked about a topic, and making it.

use super::Watch;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::info;

/// Partitions of a topic that we make. An existing one is used as it is.
const PARTITIONS: i32 = 6;
/// How long the broker may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Makes the topic if it is missing. `watch` learns why a connection failed.
pub(super) async fn make(config: &ClientConfig, topic: &str, watch: Watch) -> anyhow::Result<()> {
    let admin: AdminClient<Watch> = config.create_with_context(watch)?;
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
    let new =
        NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1)).set("retention.ms", "-1");
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
pub(super) fn lag(member: &BaseConsumer, topic: &str) -> Result<i64, KafkaError> {
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
