//! The bus over Kafka.

mod topic;
mod watch;

use super::{Bus, Delivery, Message, NotSent, Place, Publisher, Subscription};
use async_trait::async_trait;
use futures_util::FutureExt;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer, PurgeConfig};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{debug, info, warn};
use watch::Watch;

/// A topic of a Kafka cluster.
#[derive(Clone, Debug)]
pub struct KafkaBus {
    brokers: String,
    topic: String,
}

impl KafkaBus {
    /// Names the topic. Nothing is connected yet: a broker that is away is waited for by whoever
    /// publishes or subscribes, and nobody else.
    pub fn new(brokers: &str, topic: &str) -> Self {
        Self { brokers: brokers.into(), topic: topic.into() }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "gifticon");
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        config.set("topic.metadata.refresh.interval.ms", "10000");
        config
    }

    /// Waits until the topic is there, and makes it if it is missing.
    async fn topic_ready(&self) {
        let mut said = false;
        while let Err(error) = topic::make(&self.config(), &self.topic).await {
            if !said {
                warn!(
                    error = format!("{error:#}"),
                    "Kafka cannot be used yet; trying again every second"
                );
                said = true;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if said {
            info!("Kafka can be used now");
        }
    }

    /// Events that a consumer group has not done with, as the broker knows it. For audits.
    pub async fn lag(&self, group: &str) -> anyhow::Result<i64> {
        let (mut config, topic) = (self.config(), self.topic.clone());
        let member: BaseConsumer = config.set("group.id", group).create()?;
        Ok(tokio::task::spawn_blocking(move || topic::lag(&member, &topic)).await??)
    }

    /// Of clients that live as long as the process.
    fn watched(&self) -> ClientConfig {
        let mut config = self.config();
        config.set("statistics.interval.ms", "1000");
        config
    }

    fn producer(&self, watch: Watch) -> Result<FutureProducer<Watch>, KafkaError> {
        self.watched()
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // No message times out: its outcome would be unknown, and the next of its key could
            // overtake it. What cannot be sent waits here, and after a crash in the outbox.
            .set("message.timeout.ms", "0")
            .set("linger.ms", "2")
            .set("compression.type", "lz4")
            // The same partition for a key as Java's clients choose.
            .set("partitioner", "murmur2_random")
            .create_with_context(watch)
    }

    fn consumer(&self, group: &str, watch: Watch) -> Result<StreamConsumer<Watch>, KafkaError> {
        let consumer: StreamConsumer<Watch> = self
            .watched()
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            // Offsets are stored by `done`, after the effect, and sent from there.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "500")
            // The least that brokers allow: a member that was killed is missed after this long.
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1500")
            .set("queued.max.messages.kbytes", "8192")
            .create_with_context(watch)?;
        consumer.subscribe(&[&self.topic])?;
        Ok(consumer)
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>> {
        self.topic_ready().await;
        let watch = Watch::default();
        let producer = Mutex::new(self.producer(watch.clone())?);
        Ok(Arc::new(KafkaPublisher { bus: self.clone(), watch, producer }))
    }

    async fn subscribe(&self, group: &str) -> anyhow::Result<Box<dyn Subscription>> {
        self.topic_ready().await;
        let watch = Watch::default();
        let consumer = self.consumer(group, watch.clone())?;
        Ok(Box::new(KafkaSubscription {
            bus: self.clone(),
            group: group.to_owned(),
            watch,
            consumer,
        }))
    }

    async fn ends(&self) -> anyhow::Result<Vec<Place>> {
        self.topic_ready().await;
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let topic = self.topic.clone();
        Ok(tokio::task::spawn_blocking(move || topic::last_messages(&admin, &topic)).await??)
    }
}

struct KafkaPublisher {
    bus: KafkaBus,
    watch: Watch,
    producer: Mutex<FutureProducer<Watch>>,
}

impl KafkaPublisher {
    fn lock(&self) -> std::sync::MutexGuard<'_, FutureProducer<Watch>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) {
        match self.bus.producer(self.watch.clone()) {
            Ok(new) => {
                let old = std::mem::replace(&mut *self.lock(), new);
                self.watch.renewed();
                drop_aside(old);
            }
            Err(error) => warn!(%error, "could not make a new producer"),
        }
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), NotSent>> {
        let producer = self.lock().clone();
        let mut waiting = Vec::with_capacity(messages.len());
        for message in messages {
            let headers = message.headers.iter().fold(
                OwnedHeaders::new_with_capacity(message.headers.len()),
                |headers, (key, value)| headers.insert(Header { key, value: Some(value) }),
            );
            let record = FutureRecord::to(&self.bus.topic)
                .key(&message.key)
                .payload(&message.payload)
                .headers(headers);
            waiting.push(producer.send_result(record).map_err(|(error, _)| error));
        }
        let all = async {
            let mut results = Vec::with_capacity(waiting.len());
            for sent in waiting {
                results.push(match sent {
                    Ok(delivery) => match delivery.await {
                        Ok(Ok(_)) => Ok(()),
                        Ok(Err((error, _))) => Err(not_sent(&error)),
                        Err(_) => Err(NotSent::Unknown("the producer was closed".into())),
                    },
                    Err(error) => Err(not_sent(&error)),
                });
            }
            results
        };
        tokio::pin!(all);
        let (results, lost) = tokio::select! {
            results = &mut all => (results, None),
            why = self.watch.lost() => {
                // What is on its way has an unknown outcome. All of it is sent again before anything
                // that is newer, so that of no event the first copy comes out of order.
                producer.purge(PurgeConfig::default().queue().inflight());
                (all.await, Some(why))
            }
        };
        let fatal = producer.client().fatal_error().map(|(_, reason)| reason);
        if let Some(why) = fatal.or(lost) {
            info!(why, "the producer cannot go on; making a new one");
            self.renew();
        }
        results
    }
}

/// Drops a client that was replaced. That can take as long as its broker is away.
fn drop_aside<T: Send + 'static>(client: T) {
    std::thread::spawn(move || drop(client));
}

fn not_sent(error: &KafkaError) -> NotSent {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidMessage,
        ) => NotSent::Refused(error.to_string()),
        _ => NotSent::Unknown(error.to_string()),
    }
}

struct KafkaSubscription {
    bus: KafkaBus,
    group: String,
    watch: Watch,
    consumer: StreamConsumer<Watch>,
}

impl KafkaSubscription {
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
    async fn poll(&mut self, most: usize) -> anyhow::Result<Vec<Delivery>> {
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

    fn lag(&self) -> i64 {
        self.watch.lag()
    }

    async fn leave(self: Box<Self>) {
        // Closing sends the stored offsets, leaves the group, and blocks meanwhile.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

fn delivery(message: &BorrowedMessage<'_>) -> Delivery {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let text = |header: Header<'_, &[u8]>| {
            let value = std::str::from_utf8(header.value?).ok()?;
            Some((header.key.to_owned(), value.to_owned()))
        };
        headers.iter().filter_map(text).collect()
    });
    Delivery {
        place: Place { partition: message.partition(), offset: message.offset() },
        key: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
        payload: message.payload().unwrap_or_default().to_vec(),
        headers,
        at: message.timestamp().to_millis().unwrap_or_default(),
    }
}
