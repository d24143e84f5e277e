//! The queue of spans, without a collector.

use super::*;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

fn queue() -> Queue {
    Queue {
        state: Mutex::default(),
        changed: Condvar::new(),
        exported: Counter::default(),
        not_exported: Counter::default(),
        overflowed: Counter::default(),
    }
}

fn span() -> SpanData {
    SpanData {
        span_context: SpanContext::empty_context(),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "x".into(),
        start_time: crate::base::clock::instant(0),
        end_time: crate::base::clock::instant(1),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::default(),
        instrumentation_scope: InstrumentationScope::default(),
    }
}

#[test]
fn a_full_queue_drops_and_counts_and_a_flush_ends_in_time() {
    let queue = queue();
    for _ in 0..SPANS_WAITING_MAX + 3 {
        queue.add(span());
    }
    assert_eq!(queue.overflowed.get(), 3);
    let began = Instant::now();
    assert!(!queue.flush(began + Duration::from_millis(50)), "nobody sends");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_flush_sends_what_waits_at_once() {
    let queue = Arc::new(queue());
    let sender = Arc::clone(&queue);
    thread::spawn(move || {
        loop {
            let batch = sender.next_batch();
            assert!(batch.len() <= SPAN_BATCH_SIZE);
            sender.exported.inc_by(batch.len() as u64);
            sender.done();
        }
    });
    let began = Instant::now();
    for round in 1..=3 {
        for _ in 0..SPAN_BATCH_SIZE + 100 {
            queue.add(span());
        }
        assert!(queue.flush(Instant::now() + Duration::from_secs(5)));
        assert_eq!(queue.exported.get(), round * (SPAN_BATCH_SIZE as u64 + 100));
    }
    assert!(began.elapsed() < EXPORT_INTERVAL, "it does not wait for more");
}

/// The last tracer of a service is dropped in its drain, on a thread that drives all other tasks.
#[test]
fn a_service_that_ends_waits_for_no_collector() {
    let queue = Arc::new(queue());
    queue.add(span());
    let processor = Processor(Arc::clone(&queue));
    let began = Instant::now();
    drop(SdkTracerProvider::builder().with_span_processor(processor).build());
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    assert_eq!(queue.state().waiting.len(), 1, "it is sent at the end of the process");
}
