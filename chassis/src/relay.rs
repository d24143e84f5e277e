//! From the outbox to the broker.

use crate::bus::{Bus, Message, NotSent, Publisher};
use crate::db::Db;
use crate::lease::Lease;
use crate::mailbox::{Chore, Chores};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::rows;
use crate::telemetry::TRACEPARENT;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Events a round: what is sent together is acknowledged together.
const BATCH: usize = 1_000;
/// Under load, rounds begin no sooner after each other.
const APART: Duration = Duration::from_millis(20);
/// How often to look without being woken: for what other replicas left behind.
const LOOK: Duration = Duration::from_millis(500);
/// How long a stop may take for what is left.
const LAST: Duration = Duration::from_secs(2);
/// How long to wait after the broker or the database failed.
const PAUSE: Duration = Duration::from_millis(500);

/// A row of the outbox.
#[derive(Deserialize)]
struct Row {
    seq: i64,
    event_id: String,
    event_type: String,
    key: String,
    payload: String,
    traceparent: Option<String>,
    created_at: i64,
}

pub(crate) struct Relay {
    pub(crate) service: &'static str,
    pub(crate) db: Db,
    pub(crate) chores: Chores,
    pub(crate) lease: Lease,
    pub(crate) wake: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
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
        let mut pace = Pace::new(APART, BATCH);
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
                Ok(count) => pace.begins(count),
                Err(error) => {
                    warn!(error = format!("{error:#}"), "the relay failed; it goes on shortly");
                    tokio::time::sleep(PAUSE).await;
                    return;
                }
            }
        }
    }

    /// Sends up to a batch in order, deletes what the broker has, and says how many that were.
    async fn round(&mut self, publisher: &dyn Publisher) -> anyhow::Result<usize> {
        // A look is cheap. Only where there is work is the lease written.
        let columns = "seq, event_id, event_type, key, payload, traceparent, created_at";
        let waiting = rows::select(self.db.dialect(), columns, "from outbox order by seq limit $1");
        let waiting = waiting.bind(i64::try_from(BATCH)?);
        let rows: Vec<Row> = rows::read(waiting, self.db.reader()).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let Some(epoch) = self.lease.hold().await else { return Ok(0) };
        let mut seqs: Vec<i64> = Vec::with_capacity(rows.len());
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            seqs.push(row.seq);
            messages.push(self.message(row));
        }
        let results = publisher.publish(&messages).await;
        fail::fail_point!("relay-after-send");

        let mut unknown = None;
        let mut sent = Vec::with_capacity(seqs.len());
        for (seq, result) in seqs.into_iter().zip(results) {
            match result {
                Ok(()) => sent.push(seq),
                Err(NotSent::Refused(reason)) => {
                    warn!(outbox.seq = seq, reason, "the broker refused an event; parked it");
                    self.metrics.parked_total.inc();
                    self.chores.ask(Chore::Refused { seq, reason, epoch }).await?;
                }
                Err(error @ NotSent::Unknown(_)) => {
                    unknown = Some(error);
                    break; // and all after it again, so that none overtakes it
                }
            }
        }
        let count = sent.len();
        if count > 0 {
            self.chores.ask(Chore::Sent { seqs: sent, epoch }).await?;
            self.metrics.relayed_total.inc_by(count as u64);
        }
        unknown.map_or(Ok(count), |error| Err(error.into()))
    }

    /// A row as a message, with the attributes of CloudEvents' binary mode beside it.
    fn message(&self, row: Row) -> Message {
        let time = chrono::DateTime::from_timestamp_millis(row.created_at).unwrap_or_default();
        let header = |name: &str, value: String| (name.to_owned(), value);
        let mut headers = vec![
            header("ce_specversion", "1.0".into()),
            header("ce_id", row.event_id),
            header("ce_type", row.event_type),
            header("ce_source", format!("/{}", self.service)),
            header("ce_time", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            header("content-type", "application/json".into()),
        ];
        if let Some(trace) = row.traceparent {
            headers.push(header(TRACEPARENT.as_str(), trace));
        }
        Message { key: row.key, payload: row.payload, headers }
    }
}
