//! The spans of a batch: one for each order in it. The first one is linked to the others, and they are linked to it.
//!
//! An event has none: the span of its consumer is there from before the batch until the batch is durable.

use crate::base::span::{Span, SpanKind, Tracer, describe, link};
use crate::base::trace::Trace;

/// Links of the first span of a batch to the others, at most.
const LINKS_MAX: usize = 64;

/// The spans of the orders of a batch. Dropped before [`BatchSpans::committed`], it marks them as failed.
#[derive(Default)]
pub(super) struct BatchSpans {
    /// One for each order. Empty where nothing is recorded.
    spans: Vec<Option<Span>>,
    committed: bool,
}

impl BatchSpans {
    /// Starts the spans of the orders of a batch of `size` commands, each within the trace that it belongs to.
    pub(super) fn start(
        tracer: &Tracer,
        size: usize,
        parents: impl Iterator<Item = Option<Trace>> + Clone,
    ) -> Self {
        if !tracer.is_on() {
            return Self::default();
        }
        let sampled = parents.clone().flatten().filter(Trace::is_sampled);
        let recorded: Vec<Trace> = sampled.take(LINKS_MAX + 1).collect();
        let Some((first, others)) = recorded.split_first() else { return Self::default() };
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let span = |parent: Option<Trace>| {
            tracer.child(parent.as_ref(), |service| {
                let name = format!("{service}.write");
                let attributes = [("gifticon.batch.commands", size.into())];
                // Links from each to each would cost more than the spans.
                let linked =
                    if parent == Some(*first) { others } else { std::slice::from_ref(first) };
                let links =
                    linked.iter().filter(|other| Some(**other) != parent).map(link).collect();
                describe(SpanKind::Internal, name, attributes).with_links(links)
            })
        };
        Self { spans: parents.map(span).collect(), committed: false }
    }

    /// Returns the trace in which an order is carried out, if it is recorded.
    pub(super) fn trace(&self, order: usize) -> Option<Trace> {
        self.spans.get(order)?.as_ref().map(Span::trace)
    }

    /// Ends the spans when the batch is durable.
    pub(super) fn committed(mut self) {
        self.committed = true;
    }
}

impl Drop for BatchSpans {
    fn drop(&mut self) {
        if !self.committed {
            for span in self.spans.iter().flatten() {
                span.fail("the batch was not committed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Context;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{Span as SdkSpan, SpanData, SpanProcessor};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[derive(Clone, Debug, Default)]
    struct Ended(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Ended {
        fn on_start(&self, _: &mut SdkSpan, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn the_first_purchase_of_a_batch_is_linked_to_the_others_and_they_to_it() {
        let ended = Ended::default();
        let tracer = Tracer::recording("cart", ended.clone());
        let purchases: Vec<Trace> = (0..100).map(|_| Trace::start()).collect();
        // Two that are not recorded, and twice the same trace.
        let parents = [None, Some(Trace::unsampled()), Some(purchases[0])];
        let parents = parents.into_iter().chain(purchases.iter().copied().map(Some));
        let spans = BatchSpans::start(&tracer, 500, parents);
        assert!(spans.trace(0).is_none() && spans.trace(1).is_none());
        assert_eq!(spans.trace(2).unwrap().id(), purchases[0].id());
        spans.committed();

        let mut ended = ended.0.lock().unwrap().clone();
        assert_eq!(ended.len(), 101);
        let ids = |span: &SpanData| {
            let ids = span.links.iter().map(|link| link.span_context.trace_id());
            ids.collect::<Vec<_>>()
        };
        // Of the 65 that were looked at, two are of the first trace, to which it is not linked.
        let wanted: Vec<_> = purchases[1..LINKS_MAX].iter().map(Trace::id).collect();
        for first in ended.drain(..2) {
            assert_eq!(ids(&first), wanted);
            assert_eq!(first.attributes[0].value.as_str(), "500");
        }
        for span in ended {
            assert_eq!(ids(&span), [purchases[0].id()]);
        }
    }
}
