//! What belongs to others is as if it were not there.

use chassis::base::config::StreamsLimit;
use chassis::base::metrics::{Counter, Metrics};
use chassis::http::event_stream::Streams;
use chassis::storage::Db;
use chassis::testing::{
    EventReader, TestDb, TestLog, answer, carry_out, client_as, peer, principal, with_principals,
    without_path,
};
use common_events::CartId;
use mypage::api::{self, Api};
use mypage::app::ViewModel;
use mypage::live::events::EventFeed;
use mypage::live::views::ViewFeed;
use mypage::projection::{Command, Details, Fact, Kind};
use mypage::store;
use reqwest::RequestBuilder;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The carts of alice, bob and a guest, whose views are made in this order.
const CARTS: [(i64, &str); 3] = [(11, "alice"), (12, "bob"), (13, "guest")];

async fn tell(db: &Db, kind: Kind, at: i64) {
    for (cart, name) in CARTS {
        let details = Details::default();
        let fact = Fact {
            cart_id: CartId(cart),
            owner: principal(name).owner().clone(),
            kind,
            at,
            details,
        };
        carry_out(db, &ViewModel, &[Command::Told(fact)]).await.unwrap();
    }
}

/// The service with these views, for requests by anybody.
struct Views {
    url: String,
    db: Db,
    _test: (TestDb, TestLog),
}

impl Views {
    async fn start() -> Self {
        let (test_db, log) = (TestDb::sqlite(), TestLog::open().await);
        let db = test_db.open(&store::schema()).await;
        tell(&db, Kind::CartAdded, 1_000).await;
        let api = Api {
            streams: Streams::new(StreamsLimit::default(), &Metrics::default()),
            views: ViewFeed::new(db.clone(), api::streamed, Counter::default()),
            events: EventFeed::new(Arc::new(log.log.clone()), Counter::default()),
            db: db.clone(),
        };
        tokio::spawn(Arc::clone(&api.views).run());
        let url = peer(with_principals(api::routes(api)));
        Self { url, db, _test: (test_db, log) }
    }

    fn get(&self, name: &str, path: &str) -> RequestBuilder {
        client_as(name).get(format!("{}{path}", self.url))
    }

    async fn stream(&self, name: &str, query: &str, last_id: &str) -> EventReader {
        let url = format!("{}/mypages/stream{query}", self.url);
        EventReader::open(&client_as(name), &url, last_id).await
    }
}

#[tokio::test]
async fn everybody_sees_their_own_views_and_an_md_sees_all() {
    let views = Views::start().await;
    for name in ["alice", "bob", "guest"] {
        for (id, (cart, owner)) in (1..).zip(CARTS) {
            let find = |cart: i64| format!("/mypages/search/findByCartId?cartId={cart}");
            for (path, missing) in [
                (format!("/mypages/{id}"), "/mypages/99".to_owned()),
                (format!("/mypages/{id}/history"), "/mypages/99/history".to_owned()),
                (find(cart), find(99)),
            ] {
                let (status, shown) = answer(views.get(name, &path)).await;
                if owner == name {
                    assert_eq!(status, 200, "{name}: {path}");
                    assert_eq!(shown.get("owner"), None, "{shown}");
                    continue;
                }
                let (_, absent) = answer(views.get(name, &missing)).await;
                assert_eq!(
                    (status, without_path(shown)),
                    (404, without_path(absent)),
                    "{name}: {path}"
                );
                for condition in ["if-none-match", "if-match"] {
                    let conditional = views.get(name, &path).header(condition, "*");
                    assert_eq!(answer(conditional).await.0, 404, "{name}: {path}, {condition}");
                }
            }
        }
        for query in ["", "?sort=cartId", "?owner=guest", "?owner=https://id.example%23bob"] {
            let (status, page) = answer(views.get(name, &format!("/mypages{query}"))).await;
            let items = page["_embedded"]["mypages"].as_array().unwrap();
            let carts: Vec<i64> = items.iter().map(|one| one["cartId"].as_i64().unwrap()).collect();
            let own = CARTS.iter().filter(|(_, owner)| *owner == name).map(|(cart, _)| *cart);
            assert_eq!((status, carts), (200, own.collect()), "{name}: {query}");
            assert_eq!(page["page"]["totalElements"], 1, "{name}: {query}");
        }
    }
    for name in ["md", "operator"] {
        for (query, count) in [("", 3), ("?owner=guest", 1), ("?owner=https://id.example%23bob", 1)]
        {
            let (_, page) = answer(views.get(name, &format!("/mypages{query}"))).await;
            assert_eq!(page["page"]["totalElements"], count, "{name}: {query}");
        }
        let (status, shown) = answer(views.get(name, "/mypages/2")).await;
        assert_eq!((status, &shown["owner"]), (200, &json!("https://id.example#bob")), "{name}");
    }
}

/// Returns the carts of the next `count` events.
async fn carts(stream: &mut EventReader, count: usize) -> Vec<i64> {
    let mut carts = Vec::new();
    for _ in 0..count {
        let event = timeout(Duration::from_secs(10), stream.event()).await.expect("an event");
        carts.push(event.expect("the stream goes on").data["cartId"].as_i64().unwrap());
    }
    carts
}

#[tokio::test]
async fn a_stream_tells_everybody_their_own_views() {
    let views = Views::start().await;
    let all = "?cartId=11&cartId=12&cartId=13";
    let mut streams = Vec::new();
    for (name, query, wanted) in [
        ("alice", "", vec![11]),
        ("alice", all, vec![11]),
        ("bob", "?owner=guest", vec![12]),
        ("guest", "", vec![13]),
        ("guest", all, vec![13]),
        ("md", "", vec![11, 12, 13]),
        ("md", all, vec![11, 12, 13]),
        ("operator", "?owner=guest", vec![13]),
    ] {
        let mut stream = views.stream(name, query, "").await;
        assert_eq!(carts(&mut stream, wanted.len()).await, wanted, "{name}: {query}");
        streams.push((name, query, wanted, stream));
    }
    // Each round would bring what belongs to others before the last own one, or with the next round.
    for at in [2_000, 3_000] {
        let kind = if at == 2_000 { Kind::PaymentApproved } else { Kind::CartRemoved };
        tell(&views.db, kind, at).await;
    }
    for (name, query, wanted, stream) in &mut streams {
        let mut last = 0;
        while last < wanted.len() {
            let SeenCart { cart, is_last } = seen(stream).await;
            assert!(wanted.contains(&cart), "{name}: {query}: {cart}");
            last += usize::from(is_last);
        }
    }
    for (name, query, wanted, _) in &streams {
        let mut again = views.stream(name, query, "3").await;
        let mut told = carts(&mut again, wanted.len()).await;
        told.sort_unstable();
        assert_eq!(&told, wanted, "{name}: {query}, from where it was");
    }
}

struct SeenCart {
    cart: i64,
    is_last: bool,
}

/// Returns the cart of the next event, and whether it shows its last step.
async fn seen(stream: &mut EventReader) -> SeenCart {
    let event = timeout(Duration::from_secs(10), stream.event()).await.expect("an event");
    let data = event.expect("the stream goes on").data;
    SeenCart { cart: data["cartId"].as_i64().unwrap(), is_last: data["status"] == "CartRemoved" }
}
