//! The whole topic again, from its oldest event, for a view that is rebuilt.

use crate::base::pace::Backoff;
use crate::bus::{Bus, TopicReplay};
use crate::storage::{is_at_fault, log_failure};
use chrono::{DateTime, Utc};
use common_events::Envelope;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Messages a batch.
const BATCH: usize = 500;

/// A way to read the topic again.
pub struct Replays {
    bus: Arc<dyn Bus>,
    stop: CancellationToken,
}

impl Replays {
    /// Reads from `bus`. Whoever reads gives up when `stop` is cancelled.
    pub(crate) fn new(bus: Arc<dyn Bus>, stop: CancellationToken) -> Self {
        Self { bus, stop }
    }

    /// Begins to read every event that is in the topic now.
    pub async fn open(&self) -> anyhow::Result<EventReplay> {
        Ok(EventReplay(self.bus.replay().await?))
    }

    /// What is cancelled when the service begins to stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }
}

/// The topic being read again.
pub struct EventReplay(Box<dyn TopicReplay>);

impl EventReplay {
    /// Returns the next events in the order of the topic, with the times at which they happened, or none when all
    /// were read. What is no event is passed over, and a database that fails is waited for.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<(Envelope, DateTime<Utc>)>>> {
        let mut backoff = Backoff::default();
        let next = loop {
            match self.0.next(BATCH).await {
                // The embedded log is one: it reads on where it was.
                Err(error) if is_at_fault(&error) => {
                    log_failure(&error, "the topic cannot be read again; trying on");
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
                    warn!(place = %delivery.position, %error, "passed over what is no event");
                }
            }
        }
        Ok(Some(events))
    }
}
