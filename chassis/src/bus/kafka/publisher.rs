//! Publishing to Kafka.

use crate::bus::kafka::client::KafkaBus;
use crate::bus::kafka::close::drop_on_thread;
use crate::bus::kafka::watchdog::Watchdog;
use crate::bus::{Message, PublishError, Publisher};
use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer, PurgeConfig};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{info, warn};

/// A producer that is replaced after a fatal error, or when the watchdog says so.
pub(super) struct KafkaPublisher {
    bus: KafkaBus,
    watchdog: Watchdog,
    producer: Mutex<FutureProducer<Watchdog>>,
}

impl KafkaPublisher {
    pub(super) fn start(bus: KafkaBus) -> Result<Self, KafkaError> {
        let watchdog = Watchdog::new(bus.tokens.clone());
        let producer = Mutex::new(bus.producer(watchdog.clone())?);
        Ok(Self { bus, watchdog, producer })
    }

    fn lock(&self) -> MutexGuard<'_, FutureProducer<Watchdog>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the producer.
    fn replace(&self) {
        match self.bus.producer(self.watchdog.clone()) {
            Ok(new) => {
                let old = std::mem::replace(&mut *self.lock(), new);
                self.watchdog.client_replaced();
                drop_on_thread(old);
            }
            Err(error) => warn!(%error, "could not make a new producer"),
        }
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), PublishError>> {
        let producer = self.lock().clone();
        let mut pending = Vec::with_capacity(messages.len());
        for message in messages {
            let headers = message.headers.iter().fold(
                OwnedHeaders::new_with_capacity(message.headers.len()),
                |headers, (key, value)| headers.insert(Header { key, value: Some(value) }),
            );
            let record = FutureRecord::to(&self.bus.topic)
                .key(&message.key)
                .payload(&message.payload)
                .headers(headers);
            pending.push(producer.send_result(record).map_err(|(error, _)| error));
        }
        let all = async {
            let mut results = Vec::with_capacity(pending.len());
            for sent in pending {
                results.push(match sent {
                    Ok(delivery) => match delivery.await {
                        Ok(Ok(_)) => Ok(()),
                        Ok(Err((error, _))) => Err(publish_error(&error)),
                        Err(_) => Err(PublishError::Unknown("the producer was closed".into())),
                    },
                    Err(error) => Err(publish_error(&error)),
                });
            }
            results
        };
        tokio::pin!(all);
        let (results, failure) = tokio::select! {
            results = &mut all => (results, None),
            why = self.watchdog.client_failure() => {
                // The messages in flight have an unknown outcome. The caller sends all of them again before newer ones, so
                // that the first copies of all events are in order.
                producer.purge(PurgeConfig::default().queue().inflight());
                (all.await, Some(why))
            }
        };
        let fatal = producer.client().fatal_error().map(|(_, reason)| reason);
        if let Some(why) = fatal.or(failure) {
            info!(why, "the producer cannot go on; making a new one");
            self.replace();
        }
        results
    }
}

/// Returns whether the broker refused the message, or its outcome is unknown.
fn publish_error(error: &KafkaError) -> PublishError {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidMessage,
        ) => PublishError::Refused(error.to_string()),
        _ => PublishError::Unknown(error.to_string()),
    }
}
