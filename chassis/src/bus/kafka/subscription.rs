//! Reading from Kafka, as a member of a consumer group.

use crate::base::limits::LEAVE_GROUP_TIMEOUT;
use crate::bus::kafka::aside::drop_aside;
use crate::bus::kafka::client::KafkaBus;
use crate::bus::kafka::watch::Watch;
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

/// How often the position is looked at while nothing comes.
const POSITION_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct KafkaSubscription {
    bus: KafkaBus,
    group: String,
    watch: Watch,
    consumer: StreamConsumer<Watch>,
    /// The offset after the last message that was delivered, of each partition that has one which is not done.
    pending: HashMap<i32, i64>,
    /// The offsets that were stored last.
    stored: HashMap<i32, i64>,
}

impl KafkaSubscription {
    pub(super) fn start(bus: KafkaBus, group: &str) -> Result<Self, KafkaError> {
        let watch = Watch::new(bus.tokens.clone());
        let consumer = bus.consumer(group, watch.clone())?;
        let (pending, stored) = (HashMap::new(), HashMap::new());
        Ok(Self { bus, group: group.to_owned(), watch, consumer, pending, stored })
    }

    /// Joins the group with a new client. Nothing is taken and not done with yet when this is called.
    fn renew(&mut self) -> Result<(), KafkaError> {
        let new = self.bus.consumer(&self.group, self.watch.clone())?;
        self.watch.renewed();
        drop_aside(std::mem::replace(&mut self.consumer, new));
        self.pending.clear();
        self.stored.clear();
        Ok(())
    }

    /// Notes a message that is handed on.
    fn deliver(&mut self, delivery: Arc<Delivery>) -> Arc<Delivery> {
        self.pending.insert(delivery.place.partition, delivery.place.offset + 1);
        delivery
    }

    /// Moves the group over records that are no messages, such as the marker that ends a transaction, where all messages
    /// before them are done. Its lag would never be 0 otherwise.
    fn pass_markers(&mut self) {
        let Ok(positions) = self.consumer.position() else { return };
        for place in positions.elements() {
            let partition = place.partition();
            if let Offset::Offset(position) = place.offset()
                && !self.pending.contains_key(&partition)
                && self.stored.get(&partition).is_none_or(|stored| *stored < position)
            {
                self.store(partition, position);
            }
        }
    }

    /// Has `offset` committed, soon, as the next one of a partition.
    fn store(&mut self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(&self.bus.topic, partition, Offset::Offset(offset))
            .and_then(|()| self.consumer.store_offsets(&list));
        match stored {
            Ok(()) => drop(self.stored.insert(partition, offset)),
            // The partition may have gone to another member, who does its messages again.
            Err(error) => debug!(%error, partition, "an offset was not stored"),
        }
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn poll(&mut self, most: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let mut taken = Vec::new();
        // What can be mended, librdkafka mends by itself: it fetches again after each error.
        let watch = self.watch.clone();
        let mut lost = Box::pin(watch.lost());
        let mut positions = tokio::time::interval(POSITION_INTERVAL); // the first tick is at once
        let first = loop {
            tokio::select! {
                biased;
                read = self.consumer.recv() => match read.map(|message| delivery(&message)) {
                    Ok(first) => break self.deliver(first),
                    Err(error) => self.watch.failed(&error),
                },
                _ = positions.tick() => self.pass_markers(),
                why = &mut lost => {
                    info!(group = self.group, why, "the consumer does not read; making a new one");
                    self.renew()?;
                    lost.set(watch.lost());
                }
            }
        };
        taken.push(first);
        while taken.len() < most {
            let read = self.consumer.recv().now_or_never();
            match read.map(|read| read.map(|message| delivery(&message))) {
                Some(Ok(next)) => taken.push(self.deliver(next)),
                Some(Err(error)) => self.watch.failed(&error),
                None => break,
            }
        }
        Ok(taken)
    }

    async fn done(&mut self, deliveries: &[TopicPosition]) -> anyhow::Result<()> {
        let mut ends: HashMap<i32, i64> = HashMap::new();
        for place in deliveries {
            let end = ends.entry(place.partition).or_default();
            *end = (*end).max(place.offset + 1);
        }
        for (partition, end) in ends {
            self.store(partition, end);
            if self.pending.get(&partition).is_some_and(|last| *last <= end) {
                self.pending.remove(&partition);
            }
        }
        self.pass_markers();
        Ok(())
    }

    fn topic(&self) -> &str {
        &self.bus.topic
    }

    fn monitor(&self) -> Monitor {
        let watch = self.watch.clone();
        Box::new(move || watch.health())
    }

    async fn leave(self: Box<Self>) {
        // Closing sends the stored offsets and leaves the group. A member that could not is missed when its
        // session ends.
        if tokio::time::timeout(LEAVE_GROUP_TIMEOUT, drop_aside(self)).await.is_err() {
            info!("could not leave the group");
        }
    }
}

pub(super) fn delivery(message: &BorrowedMessage<'_>) -> Arc<Delivery> {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let text = |header: Header<'_, &[u8]>| {
            let value = std::str::from_utf8(header.value?).ok()?;
            Some((header.key.to_owned(), value.to_owned()))
        };
        headers.iter().filter_map(text).collect()
    });
    Arc::new(Delivery {
        place: TopicPosition { partition: message.partition(), offset: message.offset() },
        key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
        payload: message.payload().map(<[u8]>::to_vec),
        headers,
        at: message.timestamp().to_millis().unwrap_or_default(),
    })
}
