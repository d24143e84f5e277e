//! A topic of a Kafka cluster, and the clients for it.

use crate::base::config::{ClientSetting, InvalidSetting, KafkaSecurity};
use crate::base::limits::{
    KAFKA_HEARTBEAT_INTERVAL, KAFKA_MAX_POLL_INTERVAL, KAFKA_SESSION_TIMEOUT,
};
use crate::bus::kafka::aside::drop_aside;
use crate::bus::kafka::tokens::Tokens;
use crate::bus::kafka::topic::{self, LastFailure};
use crate::bus::kafka::watch::Watch;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use std::fmt;
use std::time::Duration;
use tracing::{info, warn};

/// A topic of a Kafka cluster.
#[derive(Clone)]
pub struct KafkaBus {
    brokers: String,
    pub(super) topic: String,
    security: Vec<ClientSetting>,
    pub(super) tokens: Tokens,
}

impl fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { brokers, topic, .. } = self; // the rest has a password
        f.debug_struct("KafkaBus")
            .field("brokers", brokers)
            .field("topic", topic)
            .finish_non_exhaustive()
    }
}

impl KafkaBus {
    /// Names the topic. Nothing is connected yet: a broker that is away is waited for by whoever
    /// publishes or subscribes, and nobody else.
    pub fn new(brokers: &str, topic: &str) -> Self {
        Self {
            brokers: brokers.into(),
            topic: topic.into(),
            security: Vec::new(),
            tokens: Tokens::default(),
        }
    }

    /// The same with TLS or SASL. Fails where librdkafka cannot use a setting.
    pub fn secured(
        brokers: &str,
        topic: &str,
        security: &KafkaSecurity,
    ) -> Result<Self, InvalidSetting> {
        let (security, request) = security.checked()?;
        let tokens = request.map_or_else(|| Ok(Tokens::default()), Tokens::of);
        let tokens = tokens.map_err(|error| InvalidSetting {
            setting: "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL",
            why: format!("there can be no client for it: {error}"),
        })?;
        let bus = Self { security, tokens, ..Self::new(brokers, topic) };
        // A client reads certificates and keys when it is made, and connects later.
        let made: Result<FutureProducer<LastFailure>, _> =
            bus.config().create_with_context(LastFailure::default());
        match made {
            Ok(client) => {
                drop_aside(client);
            }
            Err(error) => {
                let error = match error {
                    // Its text has the value, which may be a password.
                    KafkaError::ClientConfig(_, why, name, _) => format!("{name}: {why}"),
                    error => error.to_string(),
                };
                let named = bus.security.iter().find(|(_, name, _)| error.contains(*name));
                let setting = named.map_or("KAFKA_SECURITY_PROTOCOL", |(setting, ..)| setting);
                return Err(InvalidSetting { setting, why: error });
            }
        }
        Ok(bus)
    }

    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Whatever RUST_LOG says: `Watch` takes from its warnings what no error tells.
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "gifticon");
        for (_, name, value) in &self.security {
            config.set(*name, value);
        }
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        config.set("topic.metadata.refresh.interval.ms", "10000");
        config
    }

    /// Waits until the topic is there, and makes it if it is missing.
    pub(super) async fn topic_ready(&self) {
        let (mut said, failure) = (None, LastFailure::new(self.tokens.clone()));
        loop {
            self.tokens.ready().await;
            let made = topic::make(&self.config(), &self.topic, failure.clone()).await;
            let Err(error) = made else { break };
            let why = failure.reason().unwrap_or_default();
            let error = format!("{error:#}");
            if said.as_ref() != Some(&error) {
                warn!(error, why, "Kafka cannot be used yet; trying again every second");
                said = Some(error);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if said.is_some() {
            info!("Kafka can be used now");
        }
    }

    /// Returns how many events a consumer group has not done, as the broker knows it. For audits.
    pub async fn lag(&self, group: &str) -> anyhow::Result<i64> {
        self.tokens.ready().await;
        let (mut config, topic) = (self.config(), self.topic.clone());
        let context = LastFailure::new(self.tokens.clone());
        let member: BaseConsumer<LastFailure> =
            config.set("group.id", group).create_with_context(context)?;
        member.poll(Duration::ZERO); // it takes its token, and no message
        Ok(tokio::task::spawn_blocking(move || topic::lag(&member, &topic)).await??)
    }

    /// Of clients that live as long as the process.
    fn watched(&self) -> ClientConfig {
        let mut config = self.config();
        config.set("statistics.interval.ms", "1000");
        config
    }

    pub(super) fn producer(&self, watch: Watch) -> Result<FutureProducer<Watch>, KafkaError> {
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

    /// A consumer that is told its partitions, and signals where they end.
    pub(super) fn replaying(&self, watch: Watch) -> Result<StreamConsumer<Watch>, KafkaError> {
        self.watched()
            .set("group.id", "replay") // the client wants one, and joins none
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "8192")
            .create_with_context(watch)
    }

    pub(super) fn consumer(
        &self,
        group: &str,
        watch: Watch,
    ) -> Result<StreamConsumer<Watch>, KafkaError> {
        let consumer: StreamConsumer<Watch> = self
            .watched()
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            // Offsets are stored by `done`, after the effect, and sent from there.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "500")
            // The least that brokers allow: a member that was killed is missed after this long.
            .set("session.timeout.ms", KAFKA_SESSION_TIMEOUT.as_millis().to_string())
            .set("heartbeat.interval.ms", KAFKA_HEARTBEAT_INTERVAL.as_millis().to_string())
            // A rebalance waits for each member that was there for this long at most, whether its session ends or
            // not: a Kafka 4.4 that was killed while it was busy was seen to forget the sessions of members
            // that it read from its log, and the group waited for them for good. One that is held up for longer, by
            // its database, joins again when that is back.
            .set("max.poll.interval.ms", KAFKA_MAX_POLL_INTERVAL.as_millis().to_string())
            .set("queued.max.messages.kbytes", "8192")
            .create_with_context(watch)?;
        consumer.subscribe(&[&self.topic])?;
        Ok(consumer)
    }
}
