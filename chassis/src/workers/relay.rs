//! The relay: sends the events of the outbox to the broker.

use crate::base::limits::{MIN_RELAY_INTERVAL, RELAY_DRAIN_TIMEOUT, RELAY_POLL_INTERVAL};
use crate::base::metrics::Metrics;
use crate::base::outage::Outage;
use crate::base::pace::Pace;
use crate::base::span::{Span, Tracer};
use crate::base::trace::{TRACEPARENT, Trace};
use crate::bus::{Bus, Destination, Message, PublishError, Publisher};
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand, RefusedEvent};
use crate::mailbox::outbox::{self, OutboxEvent, OutboxRow};
use crate::storage::{Db, log_failure};
use crate::workers::lease::Lease;
use crate::workers::message_span;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Events of a round, rounded up to whole rows. A round waits for the broker and for two batches of the writer, 0.3 s on a busy
/// machine: with 1,000 events a round, the outbox grew at 2,300 carts/s.
const RELAY_BATCH_SIZE: i64 = 4_000;
/// The pause after the broker or the database failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Sends the events of a service's outbox.
pub(crate) struct Relay {
    pub(crate) service: &'static str,
    pub(crate) db: Db,
    pub(crate) housekeeping: Housekeeper,
    pub(crate) lease: Lease,
    pub(crate) wake: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Tracer,
    pub(crate) destination: Destination,
    pub(crate) outage: Outage,
}

impl Relay {
    /// Sends the events of the outbox until `stop`, and then the rest for [`RELAY_DRAIN_TIMEOUT`].
    ///
    /// An event that was sent but not deleted by then is sent again by the next relay, and dropped by the consumers' inboxes.
    pub(crate) async fn run(mut self, bus: Arc<dyn Bus>, stop: CancellationToken) {
        let ready = async {
            self.db.ready().await;
            self.outage.until_it_works(|| bus.publisher()).await
        };
        let Some(publisher) = stop.run_until_cancelled(ready).await else { return };
        let mut pace =
            Pace::new(MIN_RELAY_INTERVAL, usize::try_from(RELAY_BATCH_SIZE).unwrap_or(usize::MAX));
        while !stop.is_cancelled() {
            let woken = tokio::time::timeout(RELAY_POLL_INTERVAL, self.wake.notified());
            if stop.run_until_cancelled(woken).await.is_some() {
                stop.run_until_cancelled(self.drain(publisher.as_ref(), &mut pace)).await;
            }
        }
        let _ =
            tokio::time::timeout(RELAY_DRAIN_TIMEOUT, self.drain(publisher.as_ref(), &mut pace))
                .await;
    }

    /// Sends until the outbox is empty or something fails.
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
                        log_failure(&error, "the relay failed; retrying shortly");
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                    return;
                }
            }
        }
    }

    /// Sends the oldest events in order, and deletes those that the broker has. Returns how many.
    async fn round(&mut self, publisher: &dyn Publisher) -> anyhow::Result<usize> {
        // Reading is cheap. The lease is written only if there is work.
        let rows = outbox::oldest(&self.db, RELAY_BATCH_SIZE).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let Some(epoch) = self.lease.hold().await else { return Ok(0) };
        let spans = self.spans(&rows);
        let mut messages = Vec::new();
        let mut span = spans.iter();
        for row in &rows {
            let message =
                |event| self.message(row.created_at, event, span.next().and_then(Option::as_ref));
            messages.extend(row.events.iter().map(message));
        }
        let results = publisher.publish(&messages).await;
        for (span, result) in spans.into_iter().zip(&results) {
            if let (Some(span), Err(error)) = (span, result) {
                span.fail(error.to_string());
            }
        }
        let mut results = results.into_iter();
        fail::fail_point!("relay-after-send");

        let (mut sent, mut refused, mut count) = (Vec::new(), Vec::new(), 0);
        let mut unknown = None;
        for row in rows {
            let size = row.events.len();
            let mut refused_of_row = Vec::new();
            for (event, result) in row.events.into_iter().zip(&mut results) {
                match result {
                    Ok(()) => {}
                    Err(PublishError::Refused(reason)) => {
                        refused_of_row.push(RefusedEvent { event, at: row.created_at, reason });
                    }
                    Err(error @ PublishError::Unknown(_)) => unknown = unknown.or(Some(error)),
                }
            }
            if unknown.is_some() {
                break; // sent again with all after it, so that the order is kept
            }
            sent.push(row.seq);
            refused.extend(refused_of_row);
            count += size;
        }
        if !sent.is_empty() {
            for RefusedEvent { event, reason, .. } in &refused {
                let trace = event.traceparent.as_deref().and_then(Trace::parse);
                warn!(
                    trace.id = trace.map(|trace| display(trace.id())),
                    event.id, reason, "the broker refuses an event; parking it"
                );
            }
            self.metrics.parked_total.inc_by(refused.len() as u64);
            self.metrics.relayed_total.inc_by((count - refused.len()) as u64);
            self.housekeeping
                .execute(HousekeepingCommand::Sent { seqs: sent, refused, epoch })
                .await?;
        }
        unknown.map_or(Ok(count), |error| Err(error.into()))
    }

    /// Starts the spans of events, one for each. Returns none where nothing is recorded.
    fn spans(&self, rows: &[OutboxRow]) -> Vec<Option<Span>> {
        if !self.tracer.is_on() {
            return Vec::new();
        }
        let span = |row: &OutboxRow, event: &OutboxEvent| {
            let appended = event.traceparent.as_deref().and_then(Trace::parse);
            self.tracer.child(appended.as_ref(), |_| {
                message_span::publish(&self.destination, event, row.created_at)
            })
        };
        rows.iter().flat_map(|row| row.events.iter().map(move |event| span(row, event))).collect()
    }

    /// Returns the message of an event, with the attributes of CloudEvents' binary mode as headers.
    fn message(&self, at: i64, event: &OutboxEvent, span: Option<&Span>) -> Message {
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
        let trace = span.map(|span| span.trace().to_string());
        let trace = trace.or_else(|| event.traceparent.clone());
        headers.extend(trace.map(|trace| header(TRACEPARENT.as_str(), trace)));
        Message { key: event.key.clone(), payload: event.payload.get().to_owned(), headers }
    }
}
