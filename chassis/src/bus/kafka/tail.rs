//! Following a Kafka topic from its end, outside of any group.

use crate::bus::kafka::client::KafkaBus;
use crate::bus::kafka::close::drop_on_thread;
use crate::bus::kafka::progress::error_kind;
use crate::bus::kafka::subscription::delivery;
use crate::bus::kafka::topic;
use crate::bus::kafka::watchdog::Watchdog;
use crate::bus::{Delivery, ReadError, TopicTail};
use anyhow::{anyhow, bail};
use async_trait::async_trait;
use futures_util::FutureExt;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode::GroupAuthorizationFailed;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Follows the partitions that the topic has when it begins.
pub(super) struct KafkaTail {
    watchdog: Watchdog,
    /// `None` only while this is dropped.
    consumer: Option<StreamConsumer<Watchdog>>,
    start: BTreeMap<i32, i64>,
}

impl KafkaTail {
    pub(super) async fn start(bus: &KafkaBus, recent: i64) -> anyhow::Result<Self> {
        let watchdog = Watchdog::without_group(bus.tokens.clone());
        let (consumer, name) = (bus.tail_consumer(watchdog.clone())?, bus.topic.clone());
        // Takes its token. The consumer has no partition yet, and so no message.
        let _ = consumer.recv().now_or_never();
        let (consumer, watermarks) = tokio::task::spawn_blocking(move || {
            topic::watermarks(&consumer, &name).map(|found| (consumer, found))
        })
        .await??;
        let each = recent / i64::try_from(watermarks.len().max(1))?;
        let (mut assignment, mut start) = (TopicPartitionList::new(), BTreeMap::new());
        for (partition, (low, high)) in watermarks {
            let from = (high - each).max(low);
            assignment.add_partition_offset(&bus.topic, partition, Offset::Offset(from))?;
            start.insert(partition, from);
        }
        consumer.assign(&assignment)?;
        Ok(Self { watchdog, consumer: Some(consumer), start })
    }

    /// Returns the message of a result of the client, if it has one. Fails if the client will not read a partition any more.
    fn take(
        watchdog: &Watchdog,
        read: Result<Arc<Delivery>, KafkaError>,
    ) -> anyhow::Result<Option<Arc<Delivery>>> {
        let error = match read {
            Ok(delivery) => return Ok(Some(delivery)),
            Err(error) => error,
        };
        // The client looks for a group coordinator, which it does not need.
        if error.rdkafka_error_code() == Some(GroupAuthorizationFailed) {
            return Ok(None);
        }
        watchdog.record_error(&error);
        match error_kind(&error) {
            // librdkafka recovers from these by itself.
            ReadError::Connection | ReadError::Group | ReadError::Other => Ok(None),
            kind => bail!("the topic cannot be followed ({}): {error}", kind.label()),
        }
    }
}

#[async_trait]
impl TopicTail for KafkaTail {
    fn start(&self) -> &BTreeMap<i32, i64> {
        &self.start
    }

    async fn next(&mut self, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let watchdog = &self.watchdog;
        let consumer = self.consumer.as_ref().ok_or_else(|| anyhow!("the tail is closed"))?;
        let mut taken = Vec::new();
        while taken.is_empty() {
            let first = tokio::select! {
                biased;
                read = consumer.recv() => read.map(|message| delivery(&message)),
                why = watchdog.client_failure() => bail!("the topic cannot be followed: {why}"),
            };
            taken.extend(Self::take(watchdog, first)?);
        }
        while taken.len() < limit {
            let Some(read) = consumer.recv().now_or_never() else { break };
            taken.extend(Self::take(watchdog, read.map(|message| delivery(&message)))?);
        }
        Ok(taken)
    }
}

impl Drop for KafkaTail {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            drop_on_thread(consumer);
        }
    }
}
