//! The spans of messages: their way from the outbox to the topic, and what a consumer does about them.

use crate::base::clock::instant;
use crate::base::span::{SpanBuilder, SpanKind, describe};
use crate::bus::{Delivery, Destination};
use crate::mailbox::outbox::OutboxEvent;
use common_events::{Envelope, Event};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Describes the span of an event from when it was written to the outbox to when the broker has it. `created_at` is the
/// millisecond in which it was written, since 1970.
pub(super) fn publish(to: &Destination, event: &OutboxEvent, created_at: i64) -> SpanBuilder {
    let span = describe(
        SpanKind::Producer,
        format!("{} publish", to.topic),
        [
            ("messaging.system", to.system.into()),
            ("messaging.destination.name", Arc::clone(&to.topic).into()),
            ("messaging.operation.name", "publish".into()),
            ("messaging.operation.type", "send".into()),
            ("messaging.message.id", event.id.clone().into()),
            ("gifticon.event_type", event.event_type.clone().into()),
            (key_attribute(&event.event_type), event.key.clone().into()),
        ],
    );
    span.with_start_time(written_at(created_at, SystemTime::now()))
}

/// Returns the latest instant at which an event of the millisecond `created_at` was written. The span that it was written in may
/// have begun in the same millisecond, and no span begins before its parent.
fn written_at(created_at: i64, now: SystemTime) -> SystemTime {
    (instant(created_at) + Duration::from_millis(1)).min(now)
}

/// Describes the span of what a consumer group does about a message.
pub(super) fn process(
    from: &Destination,
    group: &'static str,
    delivery: &Delivery,
    envelope: &Envelope,
) -> SpanBuilder {
    let event_type = envelope.event.event_type();
    describe(
        SpanKind::Consumer,
        format!("{} process", from.topic),
        [
            ("messaging.system", from.system.into()),
            ("messaging.destination.name", Arc::clone(&from.topic).into()),
            ("messaging.destination.partition.id", delivery.position.partition.to_string().into()),
            ("messaging.kafka.offset", delivery.position.offset.into()),
            ("messaging.consumer.group.name", group.into()),
            ("messaging.operation.name", "process".into()),
            ("messaging.operation.type", "process".into()),
            ("gifticon.event_type", event_type.into()),
            (key_attribute(event_type), envelope.event.key().into()),
        ],
    )
}

/// Returns the attribute that the key of an event is: the id of its cart, where it is about one.
fn key_attribute(event_type: &str) -> &'static str {
    if Event::is_about_a_cart(event_type) {
        "gifticon.cart_id"
    } else {
        "messaging.kafka.message.key"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_no_earlier_than_the_span_began_that_it_was_written_in() {
        let at = |micros: u64| instant(1_000) + Duration::from_micros(micros);
        let (parent, relay) = (at(700), at(950)); // both in the millisecond of the event
        let start = written_at(1_000, relay);
        assert!(parent <= start && start <= relay, "{start:?}");
        // What waits longer in the outbox loses less than a millisecond of it.
        assert_eq!(written_at(1_000, at(60_000_000)), at(1_000));
        // The clock of the replica that sends it may be behind: no span begins after it ends.
        assert_eq!(written_at(2_000, at(0)), at(0));
    }
}
