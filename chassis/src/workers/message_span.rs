//! The spans of messages: their way from the outbox to the topic, and what a consumer does about them.

use crate::base::clock::instant;
use crate::base::span::{SpanBuilder, SpanKind, describe};
use crate::bus::{Delivery, Destination};
use crate::mailbox::outbox::OutboxEvent;
use common_events::{Envelope, Event};

/// Describes the span of an event from when it was written to the outbox, at `created_at`, to when the broker has it.
pub(super) fn publish(to: &Destination, event: &OutboxEvent, created_at: i64) -> SpanBuilder {
    let span = describe(
        SpanKind::Producer,
        format!("{} publish", to.topic),
        [
            ("messaging.system", to.system.into()),
            ("messaging.destination.name", to.topic.clone().into()),
            ("messaging.operation.name", "publish".into()),
            ("messaging.operation.type", "send".into()),
            ("messaging.message.id", event.id.clone().into()),
            ("messaging.kafka.message.key", event.key.clone().into()),
            ("gifticon.event_type", event.event_type.clone().into()),
        ],
    );
    with_cart(span.with_start_time(instant(created_at)), &event.event_type, &event.key)
}

/// Describes the span of what a consumer group does about a message.
pub(super) fn process(
    from: &Destination,
    group: &'static str,
    delivery: &Delivery,
    envelope: &Envelope,
) -> SpanBuilder {
    let (event_type, key) = (envelope.event.event_type(), envelope.event.key());
    let span = describe(
        SpanKind::Consumer,
        format!("{} process", from.topic),
        [
            ("messaging.system", from.system.into()),
            ("messaging.destination.name", from.topic.clone().into()),
            ("messaging.destination.partition.id", delivery.position.partition.to_string().into()),
            ("messaging.kafka.offset", delivery.position.offset.into()),
            ("messaging.consumer.group.name", group.into()),
            ("messaging.operation.name", "process".into()),
            ("messaging.operation.type", "process".into()),
            ("messaging.kafka.message.key", key.clone().into()),
            ("gifticon.event_type", event_type.into()),
        ],
    );
    with_cart(span, event_type, &key)
}

/// Adds the cart that an event is about.
fn with_cart(mut span: SpanBuilder, event_type: &str, key: &str) -> SpanBuilder {
    if Event::is_about_a_cart(event_type) {
        let cart = opentelemetry::KeyValue::new("gifticon.cart_id", key.to_owned());
        span.attributes.get_or_insert_default().push(cart);
    }
    span
}
