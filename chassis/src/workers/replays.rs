//! Replays of the whole topic, from its oldest event: for rebuilding a view.

use crate::base::pace::Backoff;
use crate::bus::{Bus, TopicReplay};
use crate::storage::{is_at_fault, log_failure};
use chrono::{DateTime, Utc};
use common_events::Envelope;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Messages that are read at once.
const REPLAY_BATCH_SIZE: usize = 500;

/// Opens replays of the topic.
pub struct Replays {
    bus: Arc<dyn Bus>,
    stop: CancellationToken,
}

impl Replays {
    /// Returns replays of `bus`. Their callers give up once `stop` is cancelled.
    pub(crate) fn new(bus: Arc<dyn Bus>, stop: CancellationToken) -> Self {
        Self { bus, stop }
    }

    /// Begins a replay of all events that are in the topic now.
    pub async fn open(&self) -> anyhow::Result<EventReplay> {
        Ok(EventReplay(self.bus.replay().await?))
    }

    /// Returns the token that is cancelled when the service begins to stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }
}

/// A running replay of the topic.
pub struct EventReplay(Box<dyn TopicReplay>);

impl EventReplay {
    /// Returns the next events in the order of the topic, each with the time at which it happened, and `None` after the last
    /// one. Skips messages that are no events, and retries while the database fails.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<(Envelope, DateTime<Utc>)>>> {
        let mut backoff = Backoff::default();
        let next = loop {
            match self.0.next(REPLAY_BATCH_SIZE).await {
                // The embedded log is in a database, and resumes where it was.
                Err(error) if is_at_fault(&error) => {
                    log_failure(&error, "could not read the topic; retrying");
                    backoff.wait().await;
                }
                next => break next?,
            }
        };
        let Some(deliveries) = next else { return Ok(None) };
        let mut events = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let Some(payload) = &delivery.payload else { continue };
            match Envelope::from_json(payload) {
                Ok(envelope) => {
                    let at = envelope.happened_at(delivery.timestamp);
                    events.push((envelope, at));
                }
                Err(error) => {
                    warn!(
                        trace.id = delivery.trace().map(|trace| display(trace.id())),
                        place = %delivery.position,
                        %error,
                        "skipped a message that is no event"
                    );
                }
            }
        }
        Ok(Some(events))
    }

    /// Returns how many messages were read, and how many there are to read in all.
    pub fn progress(&self) -> (u64, u64) {
        self.0.progress()
    }
}
