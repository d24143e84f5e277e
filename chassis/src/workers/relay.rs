//! From the outbox to the broker.

use crate::base::metrics::Metrics;
use crate::base::outage::Outage;
use crate::base::pace::Pace;
use crate::base::trace::TRACEPARENT;
use crate::bus::{Bus, Message, PublishError, Publisher};
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand, Refused};
use crate::mailbox::outbox::{self, Outgoing};
use crate::storage::{Db, log_failure};
use crate::workers::lease::Lease;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Events a round, and some: what is sent together is acknowledged together. A round waits for the broker and for two
/// batches of the writer, 0.3 s where the machine has nothing to spare: with 1,000 an outbox grew behind 2,300 carts/s.
const BATCH: i64 = 4_000;
/// Under load, rounds begin no sooner after each other.
const APART: Duration = Duration::from_millis(40);
/// How often to look without being woken: for what other replicas left behind.
const LOOK: Duration = Duration::from_millis(500);
/// How long a stop may take for what is left.
const LAST: Duration = Duration::from_secs(2);
/// How long to wait after the broker or the database failed.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Relay {
    pub(crate) service: &'static str,
    pub(crate) db: Db,
    pub(crate) housekeeping: Housekeeper,
    pub(crate) lease: Lease,
    pub(crate) wake: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) outage: Outage,
}

impl Relay {
    /// Sends what waits, whenever there is something, until `stop`; then, for a moment, what is left.
    ///
    /// What was sent and not deleted by then is sent again by the next, and dropped by the readers'
    /// inboxes.
    pub(crate) async fn run(mut self, bus: Arc<dyn Bus>, stop: CancellationToken) {
        let ready = async {
            self.db.ready().await;
            loop {
                match bus.publisher().await {
                    Ok(publisher) => return publisher,
                    Err(error) => warn!(error = format!("{error:#}"), "cannot publish yet"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let Some(publisher) = stop.run_until_cancelled(ready).await else { return };
        let mut pace = Pace::new(APART, usize::try_from(BATCH).unwrap_or(usize::MAX));
        while !stop.is_cancelled() {
            let look = tokio::time::timeout(LOOK, self.wake.notified());
            if stop.run_until_cancelled(look).await.is_some() {
                stop.run_until_cancelled(self.drain(publisher.as_ref(), &mut pace)).await;
            }
        }
        let _ = tokio::time::timeout(LAST, self.drain(publisher.as_ref(), &mut pace)).await;
    }

    /// Sends until nothing is left or something fails.
    async fn drain(&mut self, publisher: &dyn Publisher, pace: &mut Pace) {
        loop {
            pace.wait().await;
            match self.round(publisher).await {
                Ok(0) => return,
                Ok(count) => {
                    self.outage.works();
                    pace.begins(count);
                }
                Err(error) => {
                    if error.is::<PublishError>() {
                        self.outage.failed(&format!("{error:#}"));
                    } else {
                        log_failure(&error, "the relay failed; it goes on shortly");
                    }
                    tokio::time::sleep(PAUSE).await;
                    return;
                }
            }
        }
    }

    /// Sends what is oldest in order, deletes what the broker has, and says how many events that were.
    async fn round(&mut self, publisher: &dyn Publisher) -> anyhow::Result<usize> {
        // A look is cheap. Only where there is work is the lease written.
        let batches = outbox::oldest(&self.db, BATCH).await?;
        if batches.is_empty() {
            return Ok(0);
        }
        let Some(epoch) = self.lease.hold().await else { return Ok(0) };
        let mut messages = Vec::new();
        for batch in &batches {
            let message = |event| self.message(batch.created_at, event);
            messages.extend(batch.events.iter().map(message));
        }
        let mut results = publisher.publish(&messages).await.into_iter();
        fail::fail_point!("relay-after-send");

        let (mut sent, mut refused, mut count) = (Vec::new(), Vec::new(), 0);
        let mut unknown = None;
        for batch in batches {
            let size = batch.events.len();
            let mut not_taken = Vec::new();
            for (event, result) in batch.events.into_iter().zip(&mut results) {
                match result {
                    Ok(()) => {}
                    Err(PublishError::Refused(reason)) => {
                        not_taken.push(Refused { event, at: batch.created_at, reason });
                    }
                    Err(error @ PublishError::Unknown(_)) => unknown = unknown.or(Some(error)),
                }
            }
            if unknown.is_some() {
                break; // it is sent again, and all after it, so that none overtakes it
            }
            sent.push(batch.seq);
            refused.extend(not_taken);
            count += size;
        }
        if !sent.is_empty() {
            for Refused { event, reason, .. } in &refused {
                warn!(event.id, reason, "the broker refuses an event; parking it");
            }
            self.metrics.parked_total.inc_by(refused.len() as u64);
            self.metrics.relayed_total.inc_by((count - refused.len()) as u64);
            self.housekeeping
                .execute(HousekeepingCommand::Sent { seqs: sent, refused, epoch })
                .await?;
        }
        unknown.map_or(Ok(count), |error| Err(error.into()))
    }

    /// An event as a message, with the attributes of CloudEvents' binary mode beside it.
    fn message(&self, at: i64, event: &Outgoing) -> Message {
        let time = chrono::DateTime::from_timestamp_millis(at).unwrap_or_default();
        let header = |name: &str, value: String| (name.to_owned(), value);
        let mut headers = vec![
            header("ce_specversion", "1.0".into()),
            header("ce_id", event.id.clone()),
            header("ce_type", event.event_type.clone()),
            header("ce_source", format!("/{}", self.service)),
            header("ce_time", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            header("content-type", "application/json".into()),
        ];
        headers.extend(
            event.traceparent.as_ref().map(|trace| header(TRACEPARENT.as_str(), trace.clone())),
        );
        Message { key: event.key.clone(), payload: event.payload.get().to_owned(), headers }
    }
}
