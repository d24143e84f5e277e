//! A topic of a Kafka cluster, and the clients for it.

use crate::base::config::{ClientSetting, InvalidSetting, KafkaSecurity};
use crate::base::limits::{
    KAFKA_HEARTBEAT_INTERVAL, KAFKA_MAX_POLL_INTERVAL, KAFKA_SESSION_TIMEOUT,
};
use crate::bus::kafka::close::drop_on_thread;
use crate::bus::kafka::tokens::Tokens;
use crate::bus::kafka::topic::{self, LastFailure};
use crate::bus::kafka::watchdog::Watchdog;
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
        let Self { brokers, topic, .. } = self; // the other fields have secrets
        f.debug_struct("KafkaBus")
            .field("brokers", brokers)
            .field("topic", topic)
            .finish_non_exhaustive()
    }
}

impl KafkaBus {
    /// Returns a topic without TLS and SASL. Does not connect: `publisher` and `subscribe` wait for the broker.
    pub fn new(brokers: &str, topic: &str) -> Self {
        Self {
            brokers: brokers.into(),
            topic: topic.into(),
            security: Vec::new(),
            tokens: Tokens::default(),
        }
    }

    /// Returns a topic with TLS or SASL. Does not connect.
    ///
    /// # Errors
    /// librdkafka refuses a setting.
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
        // Making a client checks the settings, certificates and keys. It connects later.
        let client: Result<FutureProducer<LastFailure>, _> =
            bus.config().create_with_context(LastFailure::default());
        match client {
            Ok(client) => {
                drop_on_thread(client);
            }
            Err(error) => {
                let error = match error {
                    // The text of this error has the value, which may be a password.
                    KafkaError::ClientConfig(_, why, name, _) => format!("{name}: {why}"),
                    error => error.to_string(),
                };
                let culprit = bus.security.iter().find(|(_, name, _)| error.contains(*name));
                let setting = culprit.map_or("KAFKA_SECURITY_PROTOCOL", |(setting, ..)| setting);
                return Err(InvalidSetting { setting, why: error });
            }
        }
        Ok(bus)
    }

    /// Returns the settings that all clients share.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Independent of RUST_LOG: `Watchdog` needs warnings that have no error of their own.
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

    /// Waits until the topic exists. Creates it if it is missing.
    pub(super) async fn topic_ready(&self) {
        let (mut logged, failure) = (None, LastFailure::new(self.tokens.clone()));
        loop {
            self.tokens.ready().await;
            let created = topic::create(&self.config(), &self.topic, failure.clone()).await;
            let Err(error) = created else { break };
            let why = failure.reason().unwrap_or_default();
            let error = format!("{error:#}");
            if logged.as_ref() != Some(&error) {
                warn!(error, why, "Kafka cannot be used yet; trying again every second");
                logged = Some(error);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if logged.is_some() {
            info!("Kafka can be used now");
        }
    }

    /// Returns the lag of a consumer group, as the broker knows it. For audits.
    pub async fn lag(&self, group: &str) -> anyhow::Result<i64> {
        self.tokens.ready().await;
        let (mut config, topic) = (self.config(), self.topic.clone());
        let context = LastFailure::new(self.tokens.clone());
        let member: BaseConsumer<LastFailure> =
            config.set("group.id", group).create_with_context(context)?;
        member.poll(Duration::ZERO); // takes its token; it has no partition, and so no message
        Ok(tokio::task::spawn_blocking(move || topic::lag(&member, &topic)).await??)
    }

    /// Returns the settings of clients that live as long as the process: with statistics for the watchdog.
    fn watched_config(&self) -> ClientConfig {
        let mut config = self.config();
        config.set("statistics.interval.ms", "1000");
        config
    }

    /// Returns a producer.
    pub(super) fn producer(
        &self,
        watchdog: Watchdog,
    ) -> Result<FutureProducer<Watchdog>, KafkaError> {
        self.watched_config()
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // No message times out: its outcome would be unknown, and the next message with its key could overtake it.
            // Unsent messages wait in the producer; after a crash they are still in the outbox.
            .set("message.timeout.ms", "0")
            .set("linger.ms", "2")
            .set("compression.type", "lz4")
            // The partitioner of the Java client.
            .set("partitioner", "murmur2_random")
            .create_with_context(watchdog)
    }

    /// Returns a consumer in no group, which reports the end of each partition.
    pub(super) fn replay_consumer(
        &self,
        watchdog: Watchdog,
    ) -> Result<StreamConsumer<Watchdog>, KafkaError> {
        self.watched_config()
            .set("group.id", "replay") // required by the client, which does not join it
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "8192")
            .create_with_context(watchdog)
    }

    /// Returns a consumer in no group, which goes on at the end of a partition that is not what it was.
    pub(super) fn tail_consumer(
        &self,
        watchdog: Watchdog,
    ) -> Result<StreamConsumer<Watchdog>, KafkaError> {
        self.watched_config()
            .set("group.id", "tail") // required by the client, which does not join it
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest")
            .set("queued.max.messages.kbytes", "8192")
            .create_with_context(watchdog)
    }

    /// Returns a consumer that joins `group`.
    pub(super) fn consumer(
        &self,
        group: &str,
        watchdog: Watchdog,
    ) -> Result<StreamConsumer<Watchdog>, KafkaError> {
        let consumer: StreamConsumer<Watchdog> = self
            .watched_config()
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            // `commit` stores an offset after the effect of its message. The client sends stored offsets by itself.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "500")
            // The minimum that brokers allow. A member that was killed loses its partitions after this time.
            .set("session.timeout.ms", KAFKA_SESSION_TIMEOUT.as_millis().to_string())
            .set("heartbeat.interval.ms", KAFKA_HEARTBEAT_INTERVAL.as_millis().to_string())
            // Upper bound for the time that a rebalance waits for a former member. A Kafka 4.4 that was killed while busy
            // forgot the sessions of members that it read from its log; without this bound the group waited for them
            // forever. A member that its database blocks for longer joins again later.
            .set("max.poll.interval.ms", KAFKA_MAX_POLL_INTERVAL.as_millis().to_string())
            .set("queued.max.messages.kbytes", "8192")
            .create_with_context(watchdog)?;
        consumer.subscribe(&[&self.topic])?;
        Ok(consumer)
    }
}
