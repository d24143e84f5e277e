//! Reading a Kafka topic as a member of a consumer group.

use crate::base::limits::LEAVE_GROUP_TIMEOUT;
use crate::bus::kafka::client::KafkaBus;
use crate::bus::kafka::close::drop_on_thread;
use crate::bus::kafka::watchdog::Watchdog;
use crate::bus::{Delivery, Monitor, Subscription, TopicPosition};
use async_trait::async_trait;
use futures_util::FutureExt;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info};

/// The interval at which `poll` looks for transaction markers while no message comes.
const POSITION_INTERVAL: Duration = Duration::from_millis(500);

/// A member of a group, whose client is replaced when the watchdog says so.
pub(super) struct KafkaSubscription {
    bus: KafkaBus,
    group: String,
    watchdog: Watchdog,
    consumer: StreamConsumer<Watchdog>,
    /// The offset after the last delivered message, of each partition whose last message is not committed.
    pending: HashMap<i32, i64>,
    /// The offset that was stored last for each partition.
    stored: HashMap<i32, i64>,
}

impl KafkaSubscription {
    pub(super) fn start(bus: KafkaBus, group: &str) -> Result<Self, KafkaError> {
        let watchdog = Watchdog::new(bus.tokens.clone());
        let consumer = bus.consumer(group, watchdog.clone())?;
        let (pending, stored) = (HashMap::new(), HashMap::new());
        Ok(Self { bus, group: group.to_owned(), watchdog, consumer, pending, stored })
    }

    /// Joins the group with a new client. `poll` calls this while no message that it returned is in progress.
    fn replace_client(&mut self) -> Result<(), KafkaError> {
        let new = self.bus.consumer(&self.group, self.watchdog.clone())?;
        self.watchdog.client_replaced();
        drop_on_thread(std::mem::replace(&mut self.consumer, new));
        self.pending.clear();
        self.stored.clear();
        Ok(())
    }

    /// Notes that a message is delivered, and returns it.
    fn deliver(&mut self, delivery: Arc<Delivery>) -> Arc<Delivery> {
        let TopicPosition { partition, offset } = delivery.position;
        self.pending.insert(partition, offset + 1);
        delivery
    }

    /// Stores the offsets after records that are no messages, such as the marker at the end of a transaction, if all messages
    /// before them are committed. Otherwise the lag would never be 0.
    fn skip_markers(&mut self) {
        let Ok(positions) = self.consumer.position() else { return };
        for element in positions.elements() {
            let partition = element.partition();
            if let Offset::Offset(position) = element.offset()
                && !self.pending.contains_key(&partition)
                && self.stored.get(&partition).is_none_or(|stored| *stored < position)
            {
                self.store(partition, position);
            }
        }
    }

    /// Stores `offset` as the next one of a partition. The client commits it within 500 ms.
    fn store(&mut self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(&self.bus.topic, partition, Offset::Offset(offset))
            .and_then(|()| self.consumer.store_offsets(&list));
        match stored {
            Ok(()) => drop(self.stored.insert(partition, offset)),
            // The partition may belong to another member now, which handles its messages again.
            Err(error) => debug!(%error, partition, "an offset was not stored"),
        }
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn poll(&mut self, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let mut taken = Vec::new();
        // After an error librdkafka fetches again by itself.
        let watchdog = self.watchdog.clone();
        let mut failure = Box::pin(watchdog.client_failure());
        let mut positions = tokio::time::interval(POSITION_INTERVAL); // the first tick is at once
        let first = loop {
            tokio::select! {
                biased;
                read = self.consumer.recv() => match read.map(|message| delivery(&message)) {
                    Ok(first) => break self.deliver(first),
                    Err(error) => self.watchdog.record_error(&error),
                },
                _ = positions.tick() => self.skip_markers(),
                why = &mut failure => {
                    info!(group = self.group, why, "the consumer does not read; making a new one");
                    self.replace_client()?;
                    failure.set(watchdog.client_failure());
                }
            }
        };
        taken.push(first);
        while taken.len() < limit {
            let read = self.consumer.recv().now_or_never();
            match read.map(|read| read.map(|message| delivery(&message))) {
                Some(Ok(next)) => taken.push(self.deliver(next)),
                Some(Err(error)) => self.watchdog.record_error(&error),
                None => break,
            }
        }
        Ok(taken)
    }

    async fn commit(&mut self, positions: &[TopicPosition]) -> anyhow::Result<()> {
        for (partition, offset) in offsets_to_commit(positions) {
            self.store(partition, offset);
            if self.pending.get(&partition).is_some_and(|pending| *pending <= offset) {
                self.pending.remove(&partition);
            }
        }
        self.skip_markers();
        Ok(())
    }

    fn topic(&self) -> &str {
        &self.bus.topic
    }

    fn monitor(&self) -> Monitor {
        let watchdog = self.watchdog.clone();
        Box::new(move || watchdog.health())
    }

    async fn leave(self: Box<Self>) {
        // Closing commits the stored offsets and leaves the group. Without it, the broker removes the member when its
        // session ends.
        if tokio::time::timeout(LEAVE_GROUP_TIMEOUT, drop_on_thread(self)).await.is_err() {
            info!("could not leave the group");
        }
    }
}

/// Returns for each partition of `positions` the offset that a group commits: the one after the last position.
fn offsets_to_commit(positions: &[TopicPosition]) -> HashMap<i32, i64> {
    let mut offsets: HashMap<i32, i64> = HashMap::new();
    for position in positions {
        let offset = offsets.entry(position.partition).or_default();
        *offset = (*offset).max(position.offset + 1);
    }
    offsets
}

/// Returns the delivery of a message of the client.
pub(super) fn delivery(message: &BorrowedMessage<'_>) -> Arc<Delivery> {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let text = |header: Header<'_, &[u8]>| {
            let value = std::str::from_utf8(header.value?).ok()?;
            Some((header.key.to_owned(), value.to_owned()))
        };
        headers.iter().filter_map(text).collect()
    });
    Arc::new(Delivery {
        position: TopicPosition { partition: message.partition(), offset: message.offset() },
        key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
        payload: message.payload().map(|bytes| bytes.to_vec().into()),
        headers,
        timestamp: message.timestamp().to_millis().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_after_the_last_position_of_each_partition_is_committed() {
        let positions = [(0, 7), (1, 3), (0, 5)];
        let positions = positions.map(|(partition, offset)| TopicPosition { partition, offset });
        assert_eq!(offsets_to_commit(&positions), [(0, 8), (1, 4)].into());
        assert!(offsets_to_commit(&[]).is_empty());
    }
}
