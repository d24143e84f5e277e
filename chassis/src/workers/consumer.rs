//! From the bus to the writer: what a service does about the events of others.

use crate::base::metrics::Metrics;
use crate::base::outage::Outage;
use crate::base::pace::{Backoff, PAUSE_MAX, Pace};
use crate::base::trace::{self, TRACEPARENT, Trace};
use crate::bus::{Bus, Delivery, Health, ReadError, Subscription, TopicPosition};
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand};
use crate::mailbox::message::{Incoming, Rejection};
use crate::mailbox::parked::{self, Waiting, Which};
use crate::storage::Db;
use crate::writer::{Domain, Writer};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use common_events::Envelope;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Events in one transaction.
const BATCH: usize = 500;
/// Under load, batches begin no sooner after each other: nobody waits for an answer here.
const APART: Duration = Duration::from_millis(50);
/// How often work that fails although the database does not is tried: an event alone before it is parked, a rebuild before it
/// is given up.
pub const TRIES: u32 = 5;
/// How often the metrics of the subscription are set.
const TELLS: Duration = Duration::from_secs(1);

/// What a service does about the events of others.
pub trait Policy: Send + Sync + 'static {
    /// What its writer takes.
    type Domain: Domain;

    /// The commands that follow from an event that happened `at`. Pure, and with no wildcard arm: a
    /// new event makes every policy decide.
    fn react(
        &self,
        envelope: &Envelope,
        at: DateTime<Utc>,
    ) -> Vec<<Self::Domain as Domain>::Command>;
}

/// Reads messages for a policy.
pub(crate) struct Reader<P: Policy> {
    policy: P,
    writer: Writer<P::Domain>,
    metrics: Arc<Metrics>,
}

type IncomingOf<P> = Incoming<<<P as Policy>::Domain as Domain>::Command>;

impl<P: Policy> Reader<P> {
    pub(crate) fn new(policy: P, writer: Writer<P::Domain>, metrics: Arc<Metrics>) -> Self {
        Self { policy, writer, metrics }
    }

    /// Returns what a message means. One that cannot be read is to be parked; one without a value means nothing.
    ///
    /// An event without an id is told by its place and its content: a topic that was deleted and made anew counts its
    /// offsets from 0 again.
    fn read(&self, topic: &str, mut delivery: Arc<Delivery>) -> IncomingOf<P> {
        // Postgres cannot keep NUL in a text, and an event that cannot be parked would stop all others.
        if let Some(key) = delivery.key.as_ref().filter(|key| key.contains('\0')) {
            let key = without_nul(key);
            Arc::make_mut(&mut delivery).key = Some(key);
        }
        let trace = delivery.header(TRACEPARENT.as_str()).and_then(Trace::parse);
        let (id, meaning) = match delivery.payload.as_deref().map(Envelope::from_json) {
            None => {
                debug!(place = %delivery.position, key = delivery.key, "skipped a tombstone");
                self.metrics.tombstones_total.inc();
                (None, Ok(vec![]))
            }
            Some(Ok(envelope)) => {
                let at = envelope.happened_at(delivery.timestamp);
                let react = || self.policy.react(&envelope, at);
                (envelope.event_id, Ok(trace::with_sync(trace.as_ref(), react)))
            }
            Some(Err(unreadable)) => {
                let reason = without_nul(&unreadable.to_string());
                (None, Err(Rejection { reason, holds_key: unreadable.is_about_a_cart() }))
            }
        };
        let id = id.map_or_else(
            || format!("{topic}:{}:{}", delivery.position, parked::digest(&delivery)),
            |id| id.to_string(),
        );
        Incoming { id, delivery, trace, meaning, parked: None }
    }

    /// Acts on a batch, whatever it takes: together, or else one by one. Another replica may act on some of
    /// them at this moment, whose marks can be read when it is tried again.
    async fn handle(&self, events: Vec<IncomingOf<P>>) {
        if !events.iter().any(Incoming::matters) {
            return;
        }
        for then in ["once more", "one by one"] {
            let Err(error) = self.writer.apply_events(events.clone()).await else { return };
            if !error.database {
                info!(%error, "a batch of events failed; trying {then}");
            }
        }
        for event in events.into_iter().filter(Incoming::matters) {
            self.handle_alone(event).await;
        }
    }

    /// Acts on one event. Waits while the database fails, or has tables of another version of the service, and parks what
    /// fails although it works.
    async fn handle_alone(&self, mut event: IncomingOf<P>) {
        let (mut tries, mut backoff, meaning) = (0, Backoff::default(), event.meaning.clone());
        while let Err(error) = self.writer.apply_events(vec![event.clone()]).await {
            let reason = without_nul(&error.reason);
            // A batch of nothing but its mark tells whether it is the event or the database.
            if !error.database && self.writer.apply_events(Vec::new()).await.is_ok() {
                tries += 1;
            }
            if error.database {
                debug!(event.id = event.id, reason, "an event waits for the database");
            } else {
                warn!(event.id = event.id, tries, reason, "could not act on an event");
            }
            // One that could not even be parked is tried for what it means again.
            event.meaning = if tries == TRIES {
                Err(Rejection { reason, holds_key: true })
            } else {
                meaning.clone()
            };
            tries %= TRIES;
            backoff.wait().await;
        }
    }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Reads events in the group `group` until `stop`.
pub(crate) async fn run<P: Policy>(
    reader: Arc<Reader<P>>,
    bus: Arc<dyn Bus>,
    group: &'static str,
    db: Db,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let joined = async {
        db.ready().await;
        loop {
            match bus.subscribe(group).await {
                Ok(subscription) => return subscription,
                Err(error) => warn!(error = format!("{error:#}"), "cannot subscribe yet"),
            }
            tokio::time::sleep(PAUSE_MAX).await;
        }
    };
    let Some(mut subscription) = stop.run_until_cancelled(joined).await else { return };
    let monitor = subscription.monitor();
    // Also where nothing comes. While a batch is tried again, nobody polls and Kafka's lag becomes unknown.
    let tells = async {
        for kind in ReadError::ALL {
            metrics.consumer_errors(kind.label(), 0); // a zero to compare with
        }
        let mut before = Health::default();
        loop {
            let health = monitor();
            metrics.consumer(health.lag, health.stopped);
            for (kind, count) in &health.errors {
                let known = before.errors.get(kind).copied().unwrap_or_default();
                metrics.consumer_errors(kind.label(), count.saturating_sub(known));
            }
            before = health;
            tokio::time::sleep(TELLS).await;
        }
    };
    tokio::select! {
        () = tells => {}
        () = follow(&reader, subscription.as_mut(), &stop) => {}
    }
    subscription.leave().await;
}

/// Acts on what comes until `stop`.
async fn follow<P: Policy>(
    reader: &Reader<P>,
    subscription: &mut dyn Subscription,
    stop: &CancellationToken,
) {
    let mut pace = Pace::new(APART, BATCH);
    let outage = Outage::new(format!("reads from the topic {}", subscription.topic()));
    while stop.run_until_cancelled(pace.wait()).await.is_some()
        && let Some(polled) = stop.run_until_cancelled(subscription.poll(BATCH)).await
    {
        let deliveries = match polled {
            Ok(deliveries) => {
                outage.works();
                deliveries
            }
            Err(error) => {
                outage.failed(&format!("{error:#}"));
                tokio::time::sleep(PAUSE_MAX).await;
                continue;
            }
        };
        pace.begins(deliveries.len());
        let positions: Vec<TopicPosition> =
            deliveries.iter().map(|delivery| delivery.position).collect();
        let topic = subscription.topic().to_owned();
        let events = deliveries.into_iter().map(|delivery| reader.read(&topic, delivery)).collect();
        // What is not finished when the service stops comes again after its start.
        if stop.run_until_cancelled(reader.handle(events)).await.is_none() {
            break;
        }
        fail::fail_point!("consumer-after-effect");
        if let Err(error) = subscription.commit(&positions).await {
            warn!(error = format!("{error:#}"), "could not move the offset");
        }
    }
}

/// Puts parked events back to work, from the admin routes.
#[async_trait]
pub(crate) trait Replay: Send + Sync {
    /// Acts on the event in row `id` and on the others of its key in order, or on all where `id` is
    /// none. Answers how many are dealt with, or none where there is no such row; what fails again stays.
    async fn replay(&self, id: Option<i64>) -> anyhow::Result<Option<usize>>;
}

/// What replaying needs.
pub(crate) struct Replayer<P: Policy> {
    pub(crate) reader: Arc<Reader<P>>,
    pub(crate) db: Db,
    pub(crate) housekeeping: Housekeeper,
}

#[async_trait]
impl<P: Policy> Replay for Replayer<P> {
    async fn replay(&self, id: Option<i64>) -> anyhow::Result<Option<usize>> {
        let mut which = id.map_or(Which::All, Which::Row);
        let mut all = 0;
        loop {
            // The row is gone after the first round; what came meanwhile is told by its key.
            if let Which::Row(_) = which {
                let waiting = parked::waiting(&self.db, &which, 0).await?;
                let Some(first) = waiting.first() else { return Ok(None) };
                let Some(key) = first.delivery.key.clone() else {
                    return self.round(&which, true).await.map(Some);
                };
                which = Which::Key(key);
            }
            // What the broker refused once more waits again.
            match self.round(&which, all == 0).await? {
                0 => return Ok(Some(all)),
                done => all += done,
            }
        }
    }
}

impl<P: Policy> Replayer<P> {
    /// Acts on parked events in order, with `sent` also on those of the outbox, and answers how many are dealt with.
    async fn round(&self, which: &Which, sent: bool) -> anyhow::Result<usize> {
        let (mut done, mut after) = (0, 0);
        let mut stopped: HashSet<String> = HashSet::new();
        loop {
            let page = parked::waiting(&self.db, which, after).await?;
            let Some(last) = page.last() else { return Ok(done) };
            after = last.row;
            for waiting in page.into_iter().filter(|waiting| sent || !waiting.from_outbox) {
                let key = waiting.delivery.key.clone().filter(|_| waiting.holds_key);
                if key.as_ref().is_some_and(|key| stopped.contains(key)) {
                    continue; // it waits behind one that failed again
                }
                if self.act(waiting).await? {
                    done += 1;
                } else {
                    stopped.extend(key);
                }
            }
        }
    }

    /// Acts on a parked event, and answers whether it is dealt with.
    async fn act(&self, waiting: Waiting) -> anyhow::Result<bool> {
        if waiting.from_outbox {
            self.housekeeping
                .execute(HousekeepingCommand::SendAgain { parked: waiting.row })
                .await?;
            return Ok(true);
        }
        let mut event = self.reader.read("", Arc::new(waiting.delivery));
        (event.id, event.parked) = (waiting.event_id, Some(waiting.row));
        if !event.matters() {
            self.housekeeping.execute(HousekeepingCommand::Discard { parked: waiting.row }).await?;
            return Ok(true);
        }
        Ok(event.meaning.is_ok() && self.reader.writer.apply_events(vec![event]).await.is_ok())
    }
}
