//! Publishing to Kafka.

use crate::bus::kafka::aside::drop_aside;
use crate::bus::kafka::client::KafkaBus;
use crate::bus::kafka::watch::Watch;
use crate::bus::{Message, PublishError, Publisher};
use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer, PurgeConfig};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{info, warn};

pub(super) struct KafkaPublisher {
    bus: KafkaBus,
    watch: Watch,
    producer: Mutex<FutureProducer<Watch>>,
}

impl KafkaPublisher {
    pub(super) fn start(bus: KafkaBus) -> Result<Self, KafkaError> {
        let watch = Watch::new(bus.tokens.clone());
        let producer = Mutex::new(bus.producer(watch.clone())?);
        Ok(Self { bus, watch, producer })
    }

    fn lock(&self) -> MutexGuard<'_, FutureProducer<Watch>> {
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
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), PublishError>> {
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
                        Err(_) => Err(PublishError::Unknown("the producer was closed".into())),
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

fn not_sent(error: &KafkaError) -> PublishError {
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
