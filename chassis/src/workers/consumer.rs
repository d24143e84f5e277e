//! The consumer: reads the events of other services and hands the commands that follow from them to the writer.

use crate::base::limits::{EVENT_TRIES_MAX, MIN_CONSUMER_INTERVAL, RETRY_PAUSE_MAX};
use crate::base::metrics::Metrics;
use crate::base::outage::Outage;
use crate::base::pace::{Backoff, Pace};
use crate::base::span::{Span, Tracer, trace_within};
use crate::base::trace::{self, Trace};
use crate::bus::{
    Bus, Delivery, Destination, Health, Payload, ReadError, Subscription, TopicPosition,
};
use crate::mailbox::dead_letters;
use crate::mailbox::message::{IncomingEvent, Rejection};
use crate::model::Rules;
use crate::storage::Db;
use crate::workers::message_span;
use crate::writer::{WriteModel, Writer};
use chrono::{DateTime, Utc};
use common_events::Envelope;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::field::display;
use tracing::{debug, info, warn};

/// Events in one transaction at most.
const EVENT_BATCH_SIZE: usize = 500;
/// How often the metrics of the subscription are set.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);

/// Decides what a service does about the events of other services.
pub trait Policy: Send + Sync + 'static {
    /// The rules and tables of the service.
    type Model: WriteModel;

    /// Returns the commands that follow from an event that happened `at`. Pure. A test compares which event types policies act
    /// on with the table in `docs/how/events.md`, which must have a row for each.
    fn react(&self, envelope: &Envelope, at: DateTime<Utc>)
    -> Vec<<Self::Model as Rules>::Command>;
}

/// Handles messages by a policy.
pub(crate) struct EventHandler<P: Policy> {
    pub(crate) policy: P,
    pub(crate) writer: Writer<P::Model>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Tracer,
    pub(crate) destination: Destination,
    /// The name of the service.
    pub(crate) group: &'static str,
}

type EventOf<P> = IncomingEvent<<<P as Policy>::Model as Rules>::Command>;

impl<P: Policy> EventHandler<P> {
    /// Returns the event of a message with the commands that follow. A message that cannot be read is to be parked, and no
    /// command follows from one without a value.
    ///
    /// The id of an event that has none is its place and its content: a topic that was deleted and created again counts its
    /// offsets from 0.
    pub(super) fn read(&self, topic: &str, mut delivery: Arc<Delivery>) -> EventOf<P> {
        // Postgres cannot store NUL in a text, and an event that cannot be parked would stop all others.
        if let Some(key) = delivery.key.as_ref().filter(|key| key.contains('\0')) {
            let key = without_nul(key);
            Arc::make_mut(&mut delivery).key = Some(key);
        }
        let mut trace = delivery.trace();
        let mut span = None;
        let (id, meaning) = match delivery.payload.as_ref().map(Payload::event) {
            None => {
                debug!(
                    trace.id = trace.map(|trace| display(trace.id())),
                    place = %delivery.position,
                    key = delivery.key,
                    "skipped a tombstone"
                );
                self.metrics.tombstones_total.inc();
                (None, Ok(vec![]))
            }
            Some(Ok(envelope)) => {
                let at = envelope.happened_at(delivery.timestamp);
                let react = || self.policy.react(envelope, at);
                let mut commands = trace::with_sync(trace.as_ref(), react);
                if !commands.is_empty() {
                    span = self.span(trace.as_ref(), &delivery, envelope);
                }
                if span.is_some() {
                    trace = trace_within(span.as_ref(), trace);
                    commands = trace::with_sync(trace.as_ref(), react); // they may keep the trace
                }
                (envelope.event_id, Ok(commands))
            }
            Some(Err(error)) => {
                let reason = without_nul(&error.to_string());
                (None, Err(Rejection { reason, holds_key: error.is_about_a_cart() }))
            }
        };
        let id = id.map_or_else(
            || format!("{topic}:{}:{}", delivery.position, dead_letters::digest(&delivery)),
            |id| id.to_string(),
        );
        let span = span.map(Arc::new);
        IncomingEvent { id, delivery, trace, span, meaning, parked: None }
    }

    /// Starts the span of an event on which the service acts, if it is recorded.
    fn span(
        &self,
        trace: Option<&Trace>,
        delivery: &Delivery,
        envelope: &Envelope,
    ) -> Option<Span> {
        self.tracer.child(trace, |_| {
            message_span::process(&self.destination, self.group, delivery, envelope)
        })
    }

    /// Applies a parked event that is replayed. Returns false if it failed.
    pub(super) async fn apply(&self, event: EventOf<P>) -> bool {
        self.writer.apply_events([event].into()).await.is_ok()
    }

    /// Handles a batch to its end: together, or else one by one. Another replica may handle some of the events at the same
    /// time; a retry finds its marks.
    async fn handle(&self, events: Arc<[EventOf<P>]>) {
        // What is said of one event is said of its trace. A batch of many belongs to none.
        let trace = match &*events {
            [] => return,
            [event] => event.trace,
            _ => None,
        };
        for next_try in ["together once more", "one by one"] {
            let Err(error) = self.writer.apply_events(Arc::clone(&events)).await else { return };
            if !error.database {
                let trace = trace.map(|trace| display(trace.id()));
                info!(trace.id = trace, %error, "a batch of events failed; retrying {next_try}");
            }
        }
        let alone = events.to_vec();
        drop(events); // the span of an event ends with its last copy
        for event in alone {
            self.handle_alone(event).await;
        }
    }

    /// Handles one event. Waits while the database fails, or has tables of another version of the service. Parks an event that
    /// fails while the database works.
    async fn handle_alone(&self, mut event: EventOf<P>) {
        let (mut tries, mut backoff, meaning) = (0, Backoff::default(), event.meaning.clone());
        while let Err(error) = self.writer.apply_events([event.clone()].into()).await {
            let reason = without_nul(&error.reason);
            // An empty batch succeeds if the event is at fault and not the database.
            if !error.database && self.writer.apply_events([].into()).await.is_ok() {
                tries += 1;
            }
            let trace = event.trace.map(|trace| display(trace.id()));
            if error.database {
                debug!(
                    trace.id = trace,
                    event.id = event.id,
                    reason,
                    "an event waits for the database"
                );
            } else {
                warn!(
                    trace.id = trace,
                    event.id = event.id,
                    tries,
                    reason,
                    "could not handle an event"
                );
            }
            // After a failure to park it, the event itself is tried again.
            event.meaning = if tries == EVENT_TRIES_MAX {
                Err(Rejection { reason, holds_key: true })
            } else {
                meaning.clone()
            };
            tries %= EVENT_TRIES_MAX;
            backoff.wait().await;
        }
    }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Reads and handles events in the consumer group `group` until `stop`.
pub(crate) async fn run<P: Policy>(
    handler: Arc<EventHandler<P>>,
    bus: Arc<dyn Bus>,
    group: &'static str,
    db: Db,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let subscribe = async {
        db.ready().await;
        let outage = Outage::new(format!("subscriptions of {group} to the topic"));
        outage.until_it_works(|| bus.subscribe(group)).await
    };
    let Some(mut subscription) = stop.run_until_cancelled(subscribe).await else { return };
    let monitor = subscription.monitor();
    // Beside the reading: it also runs while no event comes, and while a batch is retried.
    let report_metrics = async {
        for kind in ReadError::ALL {
            metrics.consumer_errors(kind.label(), 0); // a rate needs a zero to begin with
        }
        let mut previous = Health::default();
        loop {
            let health = monitor();
            metrics.consumer(health.lag, health.stopped);
            for (kind, count) in &health.errors {
                let reported = previous.errors.get(kind).copied().unwrap_or_default();
                metrics.consumer_errors(kind.label(), count.saturating_sub(reported));
            }
            previous = health;
            tokio::time::sleep(METRICS_INTERVAL).await;
        }
    };
    tokio::select! {
        () = report_metrics => {}
        () = follow(&handler, subscription.as_mut(), &stop) => {}
    }
    subscription.leave().await;
}

/// Handles the events of a subscription until `stop`.
async fn follow<P: Policy>(
    handler: &EventHandler<P>,
    subscription: &mut dyn Subscription,
    stop: &CancellationToken,
) {
    let mut pace = Pace::new(MIN_CONSUMER_INTERVAL, EVENT_BATCH_SIZE);
    let outage = Outage::new(format!("reads from the topic {}", subscription.topic()));
    while stop.run_until_cancelled(pace.wait()).await.is_some()
        && let Some(polled) = stop.run_until_cancelled(subscription.poll(EVENT_BATCH_SIZE)).await
    {
        let deliveries = match polled {
            Ok(deliveries) => {
                outage.works();
                deliveries
            }
            Err(error) => {
                outage.failed(&format!("{error:#}"));
                tokio::time::sleep(RETRY_PAUSE_MAX).await;
                continue;
            }
        };
        pace.begins(deliveries.len());
        let positions: Vec<TopicPosition> =
            deliveries.iter().map(|delivery| delivery.position).collect();
        let topic = subscription.topic().to_owned();
        let events = deliveries.into_iter().map(|delivery| handler.read(&topic, delivery));
        let events = events.filter(IncomingEvent::matters).collect();
        // An event that is not handled when the service stops is delivered again after its start.
        if stop.run_until_cancelled(handler.handle(events)).await.is_none() {
            break;
        }
        fail::fail_point!("consumer-after-effect");
        if let Err(error) = subscription.commit(&positions).await {
            warn!(error = format!("{error:#}"), "could not commit the offsets");
        }
    }
}
