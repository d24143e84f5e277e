//! A line of the log about one event, or one request, names the trace that it belongs to.

use crate::common::{Add, Scripted, Service, cart_added};
use chassis::base::trace::{self, Trace};
use chassis::bus::PublishError;
use chassis::testing::{LogLines, TestDb, eventually};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// Returns a trace that is recorded.
fn new_trace() -> Trace {
    let text = format!("00-{}-b7ad6b7169203331-01", Uuid::new_v4().simple());
    Trace::parse(&text).unwrap()
}

fn headers(trace: &Trace) -> Vec<(String, String)> {
    vec![("traceparent".into(), trace.to_string())]
}

/// Returns the messages of the lines that name a trace, without those that come twice.
fn said_of(lines: &LogLines, trace: &Trace) -> Vec<String> {
    let id = trace.id().to_string();
    let of_trace = lines.find(|line| line["trace.id"] == id.as_str());
    let mut messages: Vec<String> =
        of_trace.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect();
    messages.dedup();
    messages
}

/// Returns the lines about an event, and checks that each names its trace.
fn about(lines: &LogLines, event: &str, trace: &Trace) -> Vec<Value> {
    let about = lines.find(|line| line["event.id"] == event);
    let id = trace.id().to_string();
    assert!(about.iter().all(|line| line["trace.id"] == id.as_str()), "{about:#?}");
    about
}

#[tokio::test]
async fn what_the_consumer_says_of_an_event_names_its_trace() {
    let (lines, bus) = (LogLines::of_this_program(), Scripted::default());
    let db = TestDb::sqlite();
    let service = Service::start(&db, &bus).await;
    let tombstone = new_trace();
    let place = bus.put_with(1, Some("1"), None, headers(&tombstone));
    bus.until_done(place).await;
    assert_eq!(said_of(lines, &tombstone), ["skipped a tombstone"]);

    let (refused, id) = (new_trace(), Uuid::new_v4());
    let event = cart_added(id, 1, -5);
    let place = bus.put_with(2, Some("1"), Some(event.as_bytes()), headers(&refused));
    bus.until_done(place).await;
    assert_eq!(
        said_of(lines, &refused),
        [
            "a batch of events failed; retrying together once more",
            "a batch of events failed; retrying one by one",
            "could not handle an event",
            "parked an event; see /admin/parked",
        ]
    );
    assert!(about(lines, &id.to_string(), &refused).len() >= 2);

    let (waits, id) = (new_trace(), Uuid::new_v4());
    let event = cart_added(id, 2, 15);
    bus.put_with(3, Some("2"), Some(event.as_bytes()), headers(&waits));
    eventually("an event that waits", async || {
        let said = said_of(lines, &waits);
        said.contains(&"an event waits for the database".to_owned()).then_some(())
    })
    .await;
    assert!(!about(lines, &id.to_string(), &waits).is_empty());
    service.running.stop(Duration::from_secs(5)).await;
}

/// A batch of several events belongs to no single trace: it names none of them.
#[tokio::test]
async fn a_batch_of_several_events_names_no_trace() {
    let (lines, bus) = (LogLines::of_this_program(), Scripted::default());
    let (first, second) = (new_trace(), new_trace());
    for (offset, trace) in [(1, &first), (2, &second)] {
        let event = cart_added(Uuid::new_v4(), offset, -5);
        bus.put_with(offset, Some(&offset.to_string()), Some(event.as_bytes()), headers(trace));
    }
    let db = TestDb::sqlite();
    let service = Service::start(&db, &bus).await;
    eventually("both to be parked", async || (service.parked().await.len() == 2).then_some(()))
        .await;
    let said = ["could not handle an event", "parked an event; see /admin/parked"];
    for trace in [first, second] {
        // The row is there a moment before the line.
        eventually("the last line", async || {
            (said_of(lines, &trace).len() == said.len()).then_some(())
        })
        .await;
        assert_eq!(said_of(lines, &trace), said);
    }
    service.running.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_the_writer_says_of_a_request_and_the_relay_of_an_event_names_the_trace() {
    let (lines, bus) = (LogLines::of_this_program(), Scripted::default());
    let db = TestDb::sqlite();
    let service = Service::start(&db, &bus).await;
    let (fails, away, refused) = (new_trace(), new_trace(), new_trace());
    for (trace, number) in [(fails, 13), (away, 15)] {
        let added = trace::with(trace, service.writer.execute(Add { id: 1, number })).await;
        assert!(added.is_err());
        assert_eq!(said_of(lines, &trace), ["a batch could not be written"], "{number}");
    }

    bus.answer_next([Err(PublishError::Refused("it is too large".into()))]);
    let add = Add { id: 1, number: 1 };
    trace::with(refused, service.writer.execute(add)).await.unwrap();
    let parked = eventually("a parked event", async || service.parked().await.pop()).await;
    let said = "the broker refuses an event; parking it";
    assert_eq!(said_of(lines, &refused), [said]);
    let refusals = lines.find(|line| line["reason"] == "it is too large");
    assert_eq!(
        about(lines, refusals[0]["event.id"].as_str().unwrap(), &refused).len(),
        1,
        "{parked}"
    );
    service.running.stop(Duration::from_secs(5)).await;
}
