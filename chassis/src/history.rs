//! The whole topic again, from its oldest event, for a view that is rebuilt.

use crate::bus::{Bus, Subscription};
use chrono::{DateTime, Utc};
use common_events::Envelope;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::warn;
use uuid::Uuid;

/// Messages a batch.
const BATCH: usize = 500;

/// A way to read the topic again.
pub struct History {
    bus: Arc<dyn Bus>,
    service: &'static str,
}

impl History {
    pub(crate) fn new(bus: Arc<dyn Bus>, service: &'static str) -> Self {
        Self { bus, service }
    }

    /// Begins to read every event that is in the topic now.
    pub async fn open(&self) -> anyhow::Result<Reading> {
        let ends = self.bus.ends().await?;
        let left = ends.into_iter().map(|place| (place.partition, place.offset)).collect();
        // A group of its own, which nobody joins again.
        let group = format!("{}-rebuild-{}", self.service, Uuid::new_v4());
        Ok(Reading { subscription: self.bus.subscribe(&group).await?, left })
    }
}

/// The topic being read again.
pub struct Reading {
    subscription: Box<dyn Subscription>,
    /// The last message to read, of each partition that is not at its end.
    left: BTreeMap<i32, i64>,
}

impl Reading {
    /// The next events in the order of the topic, with the times at which they happened; none when all
    /// were read. What is no event is passed over.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<(Envelope, DateTime<Utc>)>>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let mut events = Vec::new();
        for delivery in self.subscription.poll(BATCH).await? {
            let place = delivery.place;
            if self.left.get(&place.partition).is_some_and(|end| place.offset >= *end) {
                self.left.remove(&place.partition);
            }
            match Envelope::from_json(&delivery.payload) {
                Ok(envelope) => {
                    let arrived = DateTime::from_timestamp_millis(delivery.at).unwrap_or_default();
                    let at = envelope.occurred_at.unwrap_or(arrived);
                    events.push((envelope, at));
                }
                Err(error) => warn!(%place, %error, "passed over what is no event"),
            }
        }
        Ok(Some(events))
    }

    /// Leaves the group.
    pub async fn close(self) {
        self.subscription.leave().await;
    }
}
