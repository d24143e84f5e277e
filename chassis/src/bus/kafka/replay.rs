//! Reading a Kafka topic again, outside of any group.

use crate::bus::kafka::aside::drop_aside;
use crate::bus::kafka::client::KafkaBus;
use crate::bus::kafka::reading::kind;
use crate::bus::kafka::subscription::delivery;
use crate::bus::kafka::topic;
use crate::bus::kafka::watch::Watch;
use crate::bus::{Delivery, ReadError, TopicReplay};
use anyhow::{anyhow, bail};
use async_trait::async_trait;
use futures_util::FutureExt;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode::GroupAuthorizationFailed;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reads each partition until its position is `ends`, or until the broker says that it ends: the last records may be
/// markers of transactions, or the topic may be shorter by now.
pub(super) struct KafkaReplay {
    watch: Watch,
    /// None only while this is dropped.
    consumer: Option<StreamConsumer<Watch>>,
    /// The position at which each partition ends that is not read to its end yet.
    ends: BTreeMap<i32, i64>,
}

impl KafkaReplay {
    pub(super) async fn start(bus: &KafkaBus) -> anyhow::Result<Self> {
        let watch = Watch::of_no_group(bus.tokens.clone());
        let (consumer, name) = (bus.replaying(watch.clone())?, bus.topic.clone());
        // It takes its token. It has no partition yet, and so no message.
        let _ = consumer.recv().now_or_never();
        let (consumer, watermarks) = tokio::task::spawn_blocking(move || {
            topic::watermarks(&consumer, &name).map(|found| (consumer, found))
        })
        .await??;
        let mut from = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        for (partition, (low, high)) in watermarks {
            if low < high {
                from.add_partition_offset(&bus.topic, partition, Offset::Beginning)?;
                ends.insert(partition, high);
            }
        }
        consumer.assign(&from)?;
        Ok(Self { watch, consumer: Some(consumer), ends })
    }

    /// Takes one result of the client. An error that ends the reading of a partition ends the replay.
    fn take(
        ends: &mut BTreeMap<i32, i64>,
        watch: &Watch,
        read: Result<Arc<Delivery>, KafkaError>,
    ) -> anyhow::Result<Option<Arc<Delivery>>> {
        match read {
            Ok(delivery) => {
                let place = delivery.place;
                if ends.get(&place.partition).is_some_and(|end| place.offset + 1 >= *end) {
                    ends.remove(&place.partition);
                }
                Ok(Some(delivery))
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                ends.remove(&partition);
                Ok(None)
            }
            // The client asks for the coordinator of its group, and needs none.
            Err(error) if error.rdkafka_error_code() == Some(GroupAuthorizationFailed) => Ok(None),
            Err(error) => {
                watch.failed(&error);
                match kind(&error) {
                    // librdkafka mends these by itself.
                    ReadError::Connection | ReadError::Group | ReadError::Other => Ok(None),
                    kind => {
                        bail!("the topic cannot be read to its end ({}): {error}", kind.label())
                    }
                }
            }
        }
    }
}

#[async_trait]
impl TopicReplay for KafkaReplay {
    async fn next(&mut self, most: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>> {
        let Self { watch, consumer, ends } = self;
        if ends.is_empty() {
            return Ok(None);
        }
        let consumer = consumer.as_ref().ok_or_else(|| anyhow!("the replay is closed"))?;
        let first = tokio::select! {
            biased;
            read = consumer.recv() => read.map(|message| delivery(&message)),
            why = watch.lost() => bail!("the topic cannot be read to its end: {why}"),
        };
        let mut taken: Vec<_> = Self::take(ends, watch, first)?.into_iter().collect();
        while taken.len() < most && !ends.is_empty() {
            let Some(read) = consumer.recv().now_or_never() else { break };
            taken.extend(Self::take(ends, watch, read.map(|message| delivery(&message)))?);
        }
        Ok(Some(taken))
    }
}

impl Drop for KafkaReplay {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            drop_aside(consumer);
        }
    }
}
