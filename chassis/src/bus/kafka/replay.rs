//! Reading a Kafka topic again, outside of any group.

use crate::bus::kafka::client::KafkaBus;
use crate::bus::kafka::close::drop_on_thread;
use crate::bus::kafka::progress::error_kind;
use crate::bus::kafka::subscription::delivery;
use crate::bus::kafka::topic;
use crate::bus::kafka::watchdog::Watchdog;
use crate::bus::{Delivery, ReadError, TopicPosition, TopicReplay};
use anyhow::{anyhow, bail};
use async_trait::async_trait;
use futures_util::FutureExt;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode::GroupAuthorizationFailed;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reads each partition up to the high watermark that it had at the start, or to its end if the broker reports that first:
/// the last records may be markers of transactions, or the topic may be shorter by now.
pub(super) struct KafkaReplay {
    watchdog: Watchdog,
    /// `None` only while this is dropped.
    consumer: Option<StreamConsumer<Watchdog>>,
    /// The high watermark of each partition that is not read to it yet.
    high_watermarks: BTreeMap<i32, i64>,
    /// The offset to read next of each partition.
    next: BTreeMap<i32, i64>,
    /// Offsets to read of all partitions.
    total: i64,
}

impl KafkaReplay {
    pub(super) async fn start(bus: &KafkaBus) -> anyhow::Result<Self> {
        let watchdog = Watchdog::without_group(bus.tokens.clone());
        let (consumer, name) = (bus.replay_consumer(watchdog.clone())?, bus.topic.clone());
        // Takes its token. The consumer has no partition yet, and so no message.
        let _ = consumer.recv().now_or_never();
        let (consumer, watermarks) = tokio::task::spawn_blocking(move || {
            topic::watermarks(&consumer, &name).map(|found| (consumer, found))
        })
        .await??;
        let mut assignment = TopicPartitionList::new();
        let (mut high_watermarks, mut next) = (BTreeMap::new(), BTreeMap::new());
        let mut total = 0;
        for (partition, (low, high)) in watermarks {
            if low < high {
                assignment.add_partition_offset(&bus.topic, partition, Offset::Beginning)?;
                high_watermarks.insert(partition, high);
                next.insert(partition, low);
                total += high - low;
            }
        }
        consumer.assign(&assignment)?;
        Ok(Self { watchdog, consumer: Some(consumer), high_watermarks, next, total })
    }

    /// Returns the message of a result of the client, if it has one. Fails if the client will not read a partition any more.
    fn take(
        high_watermarks: &mut BTreeMap<i32, i64>,
        watchdog: &Watchdog,
        read: Result<Arc<Delivery>, KafkaError>,
    ) -> anyhow::Result<Option<Arc<Delivery>>> {
        match read {
            Ok(delivery) => {
                let TopicPosition { partition, offset } = delivery.position;
                if high_watermarks.get(&partition).is_some_and(|high| offset + 1 >= *high) {
                    high_watermarks.remove(&partition);
                }
                Ok(Some(delivery))
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                high_watermarks.remove(&partition);
                Ok(None)
            }
            // The client looks for a group coordinator, which it does not need.
            Err(error) if error.rdkafka_error_code() == Some(GroupAuthorizationFailed) => Ok(None),
            Err(error) => {
                watchdog.record_error(&error);
                match error_kind(&error) {
                    // librdkafka recovers from these by itself.
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
    async fn next(&mut self, limit: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>> {
        let Self { watchdog, consumer, high_watermarks, next, .. } = self;
        if high_watermarks.is_empty() {
            return Ok(None);
        }
        let consumer = consumer.as_ref().ok_or_else(|| anyhow!("the replay is closed"))?;
        let first = tokio::select! {
            biased;
            read = consumer.recv() => read.map(|message| delivery(&message)),
            why = watchdog.client_failure() => bail!("the topic cannot be read to its end: {why}"),
        };
        let mut taken: Vec<_> = Self::take(high_watermarks, watchdog, first)?.into_iter().collect();
        while taken.len() < limit && !high_watermarks.is_empty() {
            let Some(read) = consumer.recv().now_or_never() else { break };
            taken.extend(Self::take(
                high_watermarks,
                watchdog,
                read.map(|message| delivery(&message)),
            )?);
        }
        for TopicPosition { partition, offset } in taken.iter().map(|message| message.position) {
            next.insert(partition, offset + 1);
        }
        Ok(Some(taken))
    }

    fn progress(&self) -> (u64, u64) {
        let rest =
            |(partition, high): (&i32, &i64)| high - self.next.get(partition).unwrap_or(high);
        let rest: i64 = self.high_watermarks.iter().map(rest).sum();
        let done = (self.total - rest).clamp(0, self.total);
        (done.cast_unsigned(), self.total.cast_unsigned())
    }
}

impl Drop for KafkaReplay {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            drop_on_thread(consumer);
        }
    }
}
