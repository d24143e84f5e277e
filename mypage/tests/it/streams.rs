//! The event streams of the mypage service.

mod events;
mod shared;
mod slow;

use crate::common::{Mypage, at, event, message};
use chassis::Running;
use chassis::base::config::{ClientStreams, StreamsLimit};
use chassis::bus::{Bus, KafkaBus};
use chassis::testing::{EventReader, SentEvent, TestDb, eventually, server};
use mypage::MypageConfig;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use uuid::Uuid;

/// Bound for what a test waits for.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Mypage {
    async fn stream(&self, path: &str, last_id: &str) -> EventReader {
        EventReader::open(&self.client, &format!("{}{path}", self.running.url()), last_id).await
    }

    /// Waits for the next event.
    async fn next(&self, stream: &mut EventReader) -> SentEvent {
        let event = timeout(TIMEOUT, stream.event()).await.expect("an event comes");
        event.expect("the stream goes on")
    }

    /// Returns all views by id, as `GET` has them.
    async fn all(&self) -> BTreeMap<i64, Value> {
        let (status, page) = self.get("/mypages?size=1000").await;
        assert_eq!(status, 200, "{page}");
        let views = page["_embedded"]["mypages"].as_array().unwrap();
        views.iter().map(|view| (view["id"].as_i64().unwrap(), view.clone())).collect()
    }

    async fn metric(&self, name: &str) -> i64 {
        let url = format!("{}/metrics", self.running.management_url().unwrap());
        let text = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap().parse().unwrap()
    }
}

fn reset() -> SentEvent {
    SentEvent { event: "reset".into(), data: json!({}) }
}

#[tokio::test]
async fn a_change_reaches_a_stream_within_a_second() {
    let mypage = Mypage::start().await;
    let mut stream = mypage.stream("/mypages/stream", "").await;
    for (event_type, second, version) in
        [("CartAdded", 1, 6), ("PaymentApproved", 2, 8), ("CartRemoved", 3, 9)]
    {
        mypage.hear(7, &event(event_type, 7, second)).await;
        let told = Instant::now();
        let SentEvent { event, mut data } = mypage.next(&mut stream).await;
        assert!(told.elapsed() < Duration::from_secs(1), "it took {:?}", told.elapsed());
        assert_eq!((event.as_str(), &data["updatedAt"]), ("mypage", &json!(at(second))));
        assert_eq!(data.as_object_mut().unwrap().remove("version"), Some(json!(version)));
        assert_eq!(mypage.get("/mypages/1").await, (200, data));
    }
}

/// What a client does with a stream: it keeps the newest state of each view.
#[derive(Default)]
struct Page {
    views: BTreeMap<i64, Value>,
    resets: usize,
}

impl Page {
    fn apply(&mut self, SentEvent { event, data }: SentEvent) {
        if event == "reset" {
            self.views.clear();
            self.resets += 1;
            return;
        }
        let id = data["id"].as_i64().unwrap();
        let known = self.views.get(&id).map_or(0, |view| view["version"].as_u64().unwrap());
        if data["version"].as_u64().unwrap() >= known {
            self.views.insert(id, data);
        }
    }

    fn without_versions(&self) -> BTreeMap<i64, Value> {
        let mut views = self.views.clone();
        for view in views.values_mut() {
            view.as_object_mut().unwrap().remove("version");
            view["_links"].as_object_mut().unwrap().remove("history"); // a list has it not
        }
        views
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_again_and_again_loses_nothing() {
    const CARTS: i64 = 150;
    let mypage = Mypage::start().await;
    let making = async {
        for cart in 1..=CARTS {
            mypage.hear(cart, &event("CartAdded", cart, 1)).await;
            mypage.hear(cart, &event("PaymentApproved", cart, 2)).await;
            if cart % 3 == 0 {
                mypage.hear(cart, &event("CartRemoved", cart, 3)).await;
            }
        }
    };
    let watching = async {
        let (mut page, mut last_id, mut breaks) = (Page::default(), String::new(), 0_usize);
        loop {
            let mut stream = mypage.stream("/mypages/stream", &last_id).await;
            // It breaks off after 0 to 12 events, which may be fewer than those of one change, or when nothing has come for
            // a while.
            let events = if breaks % 10 == 9 { usize::MAX } else { breaks * 7 % 13 };
            for _ in 0..events {
                let Ok(event) = timeout(Duration::from_millis(500), stream.event()).await else {
                    break;
                };
                page.apply(event.unwrap());
            }
            last_id.clone_from(&stream.last_id);
            breaks += 1;
            let all = mypage.all().await;
            let is_all = all.len() == usize::try_from(CARTS).unwrap();
            if is_all && page.without_versions() == all {
                break (page.resets, breaks);
            }
            assert!(breaks < 500, "{} of {} views", page.views.len(), all.len());
        }
    };
    let ((), (resets, breaks)) = tokio::join!(making, watching);
    assert!(resets == 0 && breaks > 5, "{resets} resets, {breaks} breaks");
}

#[tokio::test]
async fn a_stream_begins_with_the_newest_views_and_anew_after_an_unknown_id() {
    let mypage = Mypage::start().await;
    for cart in 1..=25 {
        mypage.hear(cart, &event("CartAdded", cart, 1)).await;
    }
    mypage.becomes(25, "CartAdded").await;
    let ids = [("", false), ("1000000", true), ("-7", true), ("x", true)];
    for (cart, (last_id, resets)) in (1..).zip(ids) {
        let mut stream = mypage.stream("/mypages/stream", last_id).await;
        if resets {
            assert_eq!(mypage.next(&mut stream).await, reset(), "{last_id}");
        }
        for newest in 6..=25 {
            assert_eq!(mypage.next(&mut stream).await.data["cartId"], newest, "{last_id}");
        }
        let mut again = mypage.stream("/mypages/stream", &stream.last_id).await;
        mypage.hear(cart, &event("PaymentApproved", cart, 2)).await;
        for stream in [&mut stream, &mut again] {
            assert_eq!(mypage.next(stream).await.data["cartId"], cart, "nothing was told twice");
        }
    }
}

#[tokio::test]
async fn a_stream_of_some_carts_tells_of_no_others() {
    let mypage = Mypage::start().await;
    mypage.hear(2, &event("CartAdded", 2, 1)).await;
    mypage.becomes(2, "CartAdded").await;
    let mut stream = mypage.stream("/mypages/stream?cartId=2&cartId=4", "").await;
    assert_eq!(mypage.next(&mut stream).await.data["cartId"], 2);
    for cart in 3..=5 {
        mypage.hear(cart, &event("CartAdded", cart, 1)).await;
    }
    assert_eq!(mypage.next(&mut stream).await.data["cartId"], 4);
    mypage.hear(2, &event("PaymentApproved", 2, 1)).await;
    assert_eq!(mypage.next(&mut stream).await.data["status"], "PaymentApproved");
    for query in ["cartId=x", "cartId=", "cartId=1&cartId=1.5"] {
        assert_eq!(mypage.get(&format!("/mypages/stream?{query}")).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn a_rebuild_resets_the_streams() {
    let mypage = Mypage::start().await;
    mypage.hear(1, &event("CartAdded", 1, 1)).await;
    mypage.becomes(1, "CartAdded").await;
    let mut stream = mypage.stream("/mypages/stream", "").await;
    assert_eq!(mypage.next(&mut stream).await.data["cartId"], 1);
    let before = stream.last_id.clone();
    assert_eq!(mypage.ask(Method::POST, "/admin/rebuild").await.0, 200);
    assert_eq!(mypage.next(&mut stream).await, reset());
    assert_eq!(stream.last_id, "");
    assert_eq!(stream.event().await, None);
    let mut stream = mypage.stream("/mypages/stream", &before).await;
    assert_eq!(mypage.next(&mut stream).await, reset());
    assert_eq!(mypage.next(&mut stream).await.data["cartId"], 1);
}

#[tokio::test]
async fn streams_are_limited_and_free_again_soon_after_their_client_has_gone() {
    let mypage = Mypage::start_with(TestDb::sqlite(), StreamsLimit { streams_max: 2 }).await;
    let views = mypage.stream("/mypages/stream", "").await;
    let _events = mypage.stream("/live/stream", "").await;
    for path in ["/mypages/stream", "/live/stream"] {
        let url = format!("{}{path}", mypage.running.url());
        let refused = mypage.client.get(url).send().await.unwrap();
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (503, &"5".parse().unwrap())
        );
    }
    assert_eq!(mypage.metric("event_streams_open").await, 2);
    assert_eq!(mypage.metric("event_streams_refused_total").await, 2);
    drop(views);
    let gone = Instant::now();
    eventually("the stream to end", async || {
        (mypage.metric("event_streams_open").await == 1).then_some(())
    })
    .await;
    assert!(gone.elapsed() < Duration::from_secs(4), "it took {:?}", gone.elapsed());
    mypage.stream("/mypages/stream", "").await;
}

#[tokio::test]
async fn a_client_has_so_many_streams_and_others_have_theirs() {
    let of_clients = ClientStreams { streams_per_client_max: Some(2) };
    let mypage = Mypage::start_limited(TestDb::sqlite(), StreamsLimit::default(), of_clients).await;
    let open = async |client: &str| {
        let url = format!("{}/mypages/stream", mypage.running.url());
        mypage.client.get(url).header("x-forwarded-for", client).send().await.unwrap()
    };
    let (first, _second) = (open("203.0.113.7").await, open("203.0.113.7").await);
    let _events = mypage.stream("/live/stream", "").await; // of 127.0.0.1
    let refused = open("203.0.113.7").await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"5".parse().unwrap())
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "/problems/too-many-requests");
    let _other = open("203.0.113.8").await.error_for_status().unwrap();
    assert_eq!(mypage.metric("event_streams_open").await, 4);
    assert_eq!(mypage.metric("event_streams_refused_by_client_total").await, 1);
    assert_eq!(mypage.metric("event_streams_refused_total").await, 0);
    drop(first);
    eventually("a stream to be free again", async || {
        (open("203.0.113.7").await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_news_has_a_heartbeat_with_its_position() {
    let mypage = Mypage::start().await;
    let mut stream = mypage.stream("/mypages/stream?cartId=1", "").await;
    let retry = stream.block().await.unwrap();
    let retry: u64 = retry.strip_prefix("retry: ").unwrap().trim().parse().unwrap();
    assert!((1_500..2_500).contains(&retry), "{retry}");
    assert_eq!(stream.block().await.unwrap(), "id: 0\n\n");
    mypage.hear(2, &event("CartAdded", 2, 1)).await;
    let heartbeat =
        timeout(Duration::from_secs(6), stream.block()).await.expect("it comes in time");
    assert_eq!(heartbeat.unwrap(), ": heartbeat\nid: 1\n\n");
}

#[tokio::test]
async fn a_drain_ends_the_streams_between_two_events() {
    let mypage = Mypage::start().await;
    let mut streams = Vec::new();
    for path in ["/mypages/stream", "/live/stream"].repeat(5) {
        streams.push(mypage.stream(path, "").await);
    }
    let began = Instant::now();
    let ended = async {
        for mut stream in streams {
            let mut last = None;
            while let Some(block) = stream.block().await {
                last = Some(block);
            }
            assert_eq!(last.as_deref(), Some("retry: 500\n\n"));
        }
        began.elapsed()
    };
    let (ended, ()) = tokio::join!(ended, mypage.running.stop(Duration::from_secs(20)));
    assert!(ended < Duration::from_secs(4), "the streams took {ended:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "the drain took {:?}", began.elapsed());
}

#[tokio::test]
async fn streams_go_on_after_a_restart() {
    let mypage = Mypage::start().await;
    mypage.hear(1, &event("CartAdded", 1, 1)).await;
    mypage.becomes(1, "CartAdded").await;
    let mut last_ids = Vec::new();
    for path in ["/mypages/stream", "/live/stream"] {
        let mut stream = mypage.stream(path, "").await;
        mypage.next(&mut stream).await;
        last_ids.push((path, stream.last_id));
    }
    let mypage = mypage.restart().await;
    mypage.hear(1, &event("PaymentApproved", 1, 2)).await;
    for (path, last_id) in last_ids {
        let mut stream = mypage.stream(path, &last_id).await;
        assert_eq!(mypage.next(&mut stream).await.data["status"], "PaymentApproved", "{path}");
    }
}

async fn start_two(db: &TestDb, bus: &Arc<dyn Bus>, client_streams: ClientStreams) -> [Running; 2] {
    let start = async || {
        let config =
            MypageConfig { host: db.host(), streams: StreamsLimit::default(), client_streams };
        mypage::start(config, Arc::clone(bus)).await.unwrap()
    };
    [start().await, start().await]
}

/// Publishes the events of carts that are paid.
async fn publish_carts(bus: &Arc<dyn Bus>, carts: RangeInclusive<i64>) {
    let publisher = bus.publisher().await.unwrap();
    for cart in carts {
        let of = |event_type, second| message(cart, event(event_type, cart, second).to_string());
        let sent = publisher.publish(&[of("CartAdded", 1), of("PaymentApproved", 2)]).await;
        assert!(sent.iter().all(Result::is_ok));
    }
}

/// Each of two replicas tells what either of them wrote, and what the whole topic has.
#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL and TEST_KAFKA_BROKERS"]
async fn every_replica_tells_every_change() {
    const CARTS: i64 = 200;
    let (db, topic) = (TestDb::postgres().await, format!("test-{}", Uuid::new_v4()));
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::new(&server("TEST_KAFKA_BROKERS"), &topic));
    let replicas = start_two(&db, &bus, ClientStreams::default()).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let mut streams = Vec::new();
    for replica in &replicas {
        let url = replica.url();
        eventually("the replica to follow the topic", async || {
            let stream = client.get(format!("{url}/live/stream")).send().await.unwrap();
            (stream.status() == 200).then_some(())
        })
        .await;
        let views = EventReader::open(&client, &format!("{url}/mypages/stream"), "").await;
        let events = EventReader::open(&client, &format!("{url}/live/stream"), "").await;
        streams.push((views, events));
    }
    publish_carts(&bus, 1..=CARTS).await;
    for (views, events) in &mut streams {
        let mut page = Page::default();
        let approved = |page: &Page| {
            page.views.values().filter(|view| view["status"] == "PaymentApproved").count()
        };
        while approved(&page) < usize::try_from(CARTS).unwrap() {
            let event =
                timeout(Duration::from_secs(30), views.event()).await.expect("an event comes");
            page.apply(event.expect("the stream goes on"));
        }
        assert_eq!(page.resets, 0);
        let mut told = String::new();
        while told != "event" {
            let next = timeout(TIMEOUT, events.event()).await.expect("an event comes");
            told = next.expect("the stream goes on").event; // or `sampled`: there are many
        }
        assert_eq!(
            events.last_id.split(',').count(),
            6,
            "a position in each partition: {}",
            events.last_id
        );
    }
    // The positions are those of the topic and of the database, so that a stream goes on at another replica.
    let (at_other, position) = (replicas[1].url(), streams[0].0.last_id.clone());
    let mut resumed =
        EventReader::open(&client, &format!("{at_other}/mypages/stream"), &position).await;
    let nothing = timeout(Duration::from_secs(1), resumed.event()).await;
    assert!(nothing.is_err(), "everything was told already: {nothing:?}");
    for replica in replicas {
        replica.stop(Duration::from_secs(10)).await;
    }
}
