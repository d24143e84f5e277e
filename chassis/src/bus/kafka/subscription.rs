//! Reading from Kafka, as a member of a consumer group.

use super::{KafkaBus, Watch, drop_aside};
use crate::bus::{Delivery, Lag, Place, Subscription};
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

/// How long leaving the group may take.
const LEAVES: Duration = Duration::from_secs(5);

pub(super) struct KafkaSubscription {
    bus: KafkaBus,
    group: String,
    watch: Watch,
    consumer: StreamConsumer<Watch>,
}

impl KafkaSubscription {
    pub(super) fn start(bus: KafkaBus, group: &str) -> Result<Self, KafkaError> {
        let watch = Watch::default();
        let consumer = bus.consumer(group, watch.clone())?;
        Ok(Self { bus, group: group.to_owned(), watch, consumer })
    }

    /// Joins the group with a new client. Nothing is taken and not done with yet when this is called.
    fn renew(&mut self) -> Result<(), KafkaError> {
        let new = self.bus.consumer(&self.group, self.watch.clone())?;
        self.watch.renewed();
        drop_aside(std::mem::replace(&mut self.consumer, new));
        Ok(())
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn poll(&mut self, most: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let mut taken = Vec::new();
        // Errors here are the connection's, which librdkafka mends by itself.
        let watch = self.watch.clone();
        let mut lost = Box::pin(watch.lost());
        let first = loop {
            tokio::select! {
                biased;
                message = self.consumer.recv() => match message {
                    Ok(message) => break delivery(&message),
                    Err(error) => debug!(%error, "could not read from Kafka"),
                },
                why = &mut lost => {
                    info!(group = self.group, why, "the consumer does not read; making a new one");
                    self.renew()?;
                    lost.set(watch.lost());
                }
            }
        };
        taken.push(first);
        while taken.len() < most {
            match self.consumer.recv().now_or_never() {
                Some(Ok(message)) => taken.push(delivery(&message)),
                Some(Err(error)) => debug!(%error, "could not read from Kafka"),
                None => break,
            }
        }
        Ok(taken)
    }

    async fn done(&mut self, deliveries: &[Place]) -> anyhow::Result<()> {
        let mut ends: HashMap<i32, i64> = HashMap::new();
        for place in deliveries {
            let end = ends.entry(place.partition).or_default();
            *end = (*end).max(place.offset + 1);
        }
        for (partition, end) in ends {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(self.topic(), partition, Offset::Offset(end))?;
            // The partition may have gone to another member, who does its messages again.
            if let Err(error) = self.consumer.store_offsets(&list) {
                debug!(%error, partition, "an offset was not stored");
            }
        }
        Ok(())
    }

    fn topic(&self) -> &str {
        &self.bus.topic
    }

    fn lag(&self) -> Lag {
        let watch = self.watch.clone();
        Box::new(move || watch.lag())
    }

    async fn leave(self: Box<Self>) {
        // Closing sends the stored offsets and leaves the group. A member that could not is missed when its
        // session ends.
        if tokio::time::timeout(LEAVES, drop_aside(self)).await.is_err() {
            info!("could not leave the group");
        }
    }
}

fn delivery(message: &BorrowedMessage<'_>) -> Arc<Delivery> {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let text = |header: Header<'_, &[u8]>| {
            let value = std::str::from_utf8(header.value?).ok()?;
            Some((header.key.to_owned(), value.to_owned()))
        };
        headers.iter().filter_map(text).collect()
    });
    Arc::new(Delivery {
        place: Place { partition: message.partition(), offset: message.offset() },
        key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
        payload: message.payload().unwrap_or_default().to_vec(),
        headers,
        at: message.timestamp().to_millis().unwrap_or_default(),
    })
}
