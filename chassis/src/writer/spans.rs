//! The spans of a batch: one for each purchase in it, linked to those of the others.

use crate::base::span::{Span, SpanKind, Tracer, describe, link};
use crate::base::trace::Trace;
use std::sync::Arc;

/// Links of one span to others of its batch, at most.
const LINKS_MAX: usize = 64;

/// The spans of the commands of a batch. Dropped before [`BatchSpans::committed`], it marks them as failed.
#[derive(Default)]
pub(super) struct BatchSpans {
    /// One for each command. Commands that follow from the same event share it. Empty where nothing is recorded.
    spans: Vec<Option<Arc<Span>>>,
    committed: bool,
}

impl BatchSpans {
    /// Starts the spans of commands, each within the trace that it belongs to.
    pub(super) fn start<'t, T>(tracer: &Tracer, parents: T) -> Self
    where
        T: ExactSizeIterator<Item = Option<&'t Trace>> + Clone,
    {
        let sampled = || parents.clone().flatten().filter(|trace| trace.is_sampled());
        if !tracer.is_on() || sampled().next().is_none() {
            return Self::default();
        }
        let mut others: Vec<&Trace> = sampled().take(LINKS_MAX + 1).collect();
        others.dedup();
        let size = i64::try_from(parents.len()).unwrap_or(i64::MAX);
        let mut spans: Vec<Option<Arc<Span>>> = Vec::with_capacity(parents.len());
        let mut previous = None;
        for trace in parents {
            let span = if trace.is_some() && trace == previous {
                spans.last().cloned().flatten()
            } else {
                let span = tracer.child(trace, |service| {
                    let name = format!("{service}.write");
                    let attributes = [("gifticon.batch.commands", size.into())];
                    let others = others.iter().filter(|other| Some(**other) != trace);
                    let links = others.take(LINKS_MAX).map(|other| link(other)).collect();
                    describe(SpanKind::Internal, name, attributes).with_links(links)
                });
                span.map(Arc::new)
            };
            spans.push(span);
            previous = trace;
        }
        Self { spans, committed: false }
    }

    /// Returns the trace in which a command is carried out, if it is recorded.
    pub(super) fn trace(&self, command: usize) -> Option<Trace> {
        self.spans.get(command)?.as_ref().map(|span| span.trace())
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
