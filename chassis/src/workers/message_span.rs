//! The spans of messages: their way from the outbox to the topic, and what a consumer does about them.

use crate::base::clock::instant;
use crate::base::span::{SpanBuilder, SpanKind, describe};
use crate::bus::{Delivery, Destination};
use crate::mailbox::outbox::OutboxEvent;
use common_events::{Envelope, Event};
use std::sync::Arc;

/// Describes the span of an event from when it was written to the outbox, at `created_at`, to when the broker has it.
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
    span.with_start_time(instant(created_at))
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
