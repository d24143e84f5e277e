//! The gifticon service over HTTP.

use crate::common::Gifticon;
use chassis::bus::{Bus, Message};
use chassis::testing::eventually;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

#[tokio::test]
async fn a_gifticon_is_registered_once_and_told() {
    let gifticon = Gifticon::with_ten().await;
    let body = json!({"gifticonId": 7, "name": "Latte", "availableQuantity": 1, "price": 1});
    let (status, problem) = gifticon.ask(Method::POST, "/gifticons", body).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/gifticon-exists")));
    for search in ["gifticonId=7", "GifticonId=7"] {
        let path = format!("/gifticons/search/findByGifticonId?{search}");
        let (status, found) = gifticon.ask(Method::GET, &path, Value::Null).await;
        assert_eq!((status, &found["name"]), (200, &json!("Americano")));
    }
    let told = eventually("the event", async || gifticon.log.told().await.pop()).await;
    assert_eq!(
        (&told["eventType"], &told["gifticonId"]),
        (&json!("GifticonRegistered"), &json!(7))
    );
    assert_eq!(gifticon.log.log.history().await.unwrap()[0].key.as_deref(), Some("7"));
}

#[tokio::test]
async fn what_an_md_changed_is_in_the_audit_log() {
    let gifticon = Gifticon::with_ten().await;
    assert_eq!(gifticon.reserve(Uuid::new_v4(), 4).await.0, 201);
    for (price, status) in [(5500, 200), (-1, 422)] {
        let body = json!({ "price": price });
        assert_eq!(gifticon.ask(Method::PATCH, "/gifticons/1", body).await.0, status);
    }
    let url = format!("{}/admin/audit", gifticon.running.management_url().unwrap());
    let audit: Value = gifticon.client.get(url).send().await.unwrap().json().await.unwrap();
    let told: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let prices = [&entry["before"]["price"], &entry["after"]["price"]];
            json!([entry["actor"], entry["action"], entry["subject"], prices])
        })
        .collect();
    let wanted = [
        json!(["guest", "change", "gifticon 7", [5000, 5500]]),
        json!(["guest", "register", "gifticon 7", [null, 5000]]),
    ];
    assert_eq!(told, wanted, "the newest first; neither sales nor refusals");
}

#[tokio::test]
async fn a_change_never_loses_a_sale() {
    let gifticon = Gifticon::with_ten().await;
    let patch = async |etag: Option<&str>, body: Value| {
        gifticon.send(Method::PATCH, "/gifticons/1", etag, body).await.status().as_u16()
    };
    let answer = gifticon.send(Method::GET, "/gifticons/1", None, Value::Null).await;
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(gifticon.reserve(Uuid::new_v4(), 4).await.0, 201);

    let absolute = json!({ "availableQuantity": "10" });
    assert_eq!(patch(None, absolute.clone()).await, 428);
    assert_eq!(patch(Some(&etag), absolute.clone()).await, 412, "a sale came in between");
    assert_eq!(patch(Some("\"nonsense\""), absolute.clone()).await, 412);
    assert_eq!(gifticon.available().await, 6);
    assert_eq!(patch(None, json!({ "restock": 50 })).await, 200);
    assert_eq!(gifticon.available().await, 56);
    assert_eq!(patch(None, json!({ "restock": -57 })).await, 422, "below zero");
    assert_eq!(patch(None, json!({ "restock": 2_147_483_647 })).await, 422, "beyond the bound");

    let answer = gifticon.send(Method::GET, "/gifticons/1", None, Value::Null).await;
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(patch(Some(&etag), absolute.clone()).await, 200);
    assert_eq!(gifticon.available().await, 10);
    assert_eq!(gifticon.reserve(Uuid::new_v4(), 4).await.0, 201);
    assert_eq!(patch(Some("*"), absolute.clone()).await, 200, "whatever is there");
    assert_eq!(gifticon.available().await, 10);
    let absent = gifticon.send(Method::PATCH, "/gifticons/9", Some("*"), absolute).await;
    assert_eq!(absent.status(), 404);
    assert_eq!(patch(None, json!({ "name": "라떼", "price": "6000" })).await, 200);
    let (_, body) = gifticon.ask(Method::GET, "/gifticons/1", Value::Null).await;
    assert_eq!((&body["name"], &body["price"]), (&json!("라떼"), &json!(6000)));
}

#[tokio::test]
async fn a_reservation_takes_stock_once_and_answers_the_same() {
    let gifticon = Gifticon::with_ten().await;
    let id = Uuid::new_v4();
    let (status, first) = gifticon.reserve(id, 4).await;
    assert_eq!(
        (status, &first["availableQuantity"], &first["price"]),
        (201, &json!(6), &json!(5000))
    );
    gifticon.reserve(Uuid::new_v4(), 1).await;
    assert_eq!(gifticon.reserve(id, 4).await, (200, first));
    assert_eq!(gifticon.reserve(id, 5).await.0, 422);
    assert_eq!(gifticon.available().await, 5);
    let (status, problem) = gifticon.reserve(Uuid::new_v4(), 6).await;
    assert_eq!((status, &problem["availableQuantity"]), (409, &json!(5)));
    let unknown = json!({ "gifticonId": 8, "quantity": 1 });
    let path = format!("/reservations/{}", Uuid::new_v4());
    assert_eq!(gifticon.ask(Method::PUT, &path, unknown).await.0, 404);
    assert_eq!(gifticon.ask(Method::PUT, "/reservations/x", json!({})).await.0, 404);
}

#[tokio::test]
async fn a_release_returns_stock_once_and_may_come_first() {
    let gifticon = Gifticon::with_ten().await;
    let (id, early) = (Uuid::new_v4(), Uuid::new_v4());
    gifticon.reserve(id, 4).await;
    for id in [id, id, early, early] {
        let path = format!("/reservations/{id}");
        assert_eq!(gifticon.ask(Method::DELETE, &path, Value::Null).await.0, 204);
    }
    assert_eq!(gifticon.available().await, 10);
    for id in [id, early] {
        let (status, problem) = gifticon.reserve(id, 4).await;
        assert_eq!((status, &problem["type"]), (409, &json!("/problems/reservation-released")));
    }
    assert_eq!(gifticon.available().await, 10);
}

#[tokio::test]
async fn a_cart_that_is_gone_gives_its_stock_back_once() {
    let gifticon = Gifticon::with_ten().await;
    let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
    gifticon.reserve(id, 4).await;
    gifticon.reserve(other, 1).await;
    // The quantity that an event states is not what counts.
    let removed = |event: Uuid, reservation: Uuid| {
        json!({
            "eventType": "CartRemoved", "timestamp": "20261124000000", "eventId": event,
            "id": 1, "gifticonId": 7, "quantity": 999, "reservationId": reservation,
        })
    };
    let publisher = gifticon.log.log.publisher().await.unwrap();
    let same = removed(Uuid::new_v4(), id);
    // The last, under the same key, tells when all before it were heard.
    let last = removed(Uuid::new_v4(), other);
    for event in [same.clone(), same, removed(Uuid::new_v4(), id), last] {
        let message = Message { key: "1".into(), payload: event.to_string(), headers: vec![] };
        publisher.publish(&[message]).await.remove(0).unwrap();
    }
    eventually("the stock to return", async || (gifticon.available().await == 10).then_some(()))
        .await;
    // Ours among what is told: the events above may come after it.
    let told = eventually("the change to be told", async || {
        let told = gifticon.log.told().await;
        let changes = told.into_iter().filter(|told| told["eventType"] == "QuantityModified");
        let left: Vec<_> = changes.map(|told| told["availableQuantity"].as_i64()).collect();
        (left.last()? == &Some(10)).then_some(left)
    })
    .await;
    assert!(told.iter().all(|left| *left <= Some(10)), "{told:?}");
    assert_eq!(gifticon.available().await, 10);
}

#[tokio::test]
async fn what_carts_hold_is_not_deleted() {
    let gifticon = Gifticon::with_ten().await;
    let id = Uuid::new_v4();
    gifticon.reserve(id, 4).await;
    let (status, problem) = gifticon.ask(Method::DELETE, "/gifticons/1", Value::Null).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/gifticon-held")));
    gifticon.ask(Method::DELETE, &format!("/reservations/{id}"), Value::Null).await;
    assert_eq!(gifticon.ask(Method::DELETE, "/gifticons/1", Value::Null).await.0, 204);
    assert_eq!(gifticon.ask(Method::DELETE, "/gifticons/1", Value::Null).await.0, 404);
    assert_eq!(gifticon.reserve(Uuid::new_v4(), 1).await.0, 404);
    let told = async || gifticon.log.told().await.pop();
    eventually("the deletion to be told", async || {
        (told().await?["eventType"] == "GifticonDeleted").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_on_sale_is_linked_listed_and_told_under_its_number() {
    let gifticon = Gifticon::start().await;
    let url = gifticon.running.url();
    for number in [30, 20, 10] {
        let body = json!({
            "gifticonId": number, "name": format!("Tea {number}"), "availableQuantity": 5, "price": 0,
        });
        let answer = gifticon.send(Method::POST, "/gifticons", None, body).await;
        assert_eq!(answer.status(), 201);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let etag = answer.headers()["etag"].clone();
        let made: Value = answer.json().await.unwrap();
        assert_eq!(location, format!("{url}/gifticons/{}", made["id"]));
        assert_eq!(made["_links"]["self"]["href"], location);
        assert_eq!(made["_links"]["gifticon"]["href"], location);
        let path = location.strip_prefix(&url).unwrap();
        let read = gifticon.send(Method::GET, path, None, Value::Null).await;
        assert_eq!(read.headers()["etag"], etag);
        assert_eq!(read.json::<Value>().await.unwrap(), made);
    }
    let (status, page) = gifticon
        .ask(Method::GET, "/gifticons?size=2&sort=gifticonId,desc&sort=name", Value::Null)
        .await;
    let listed = page["_embedded"]["gifticons"].as_array().unwrap();
    let numbers: Vec<_> = listed.iter().map(|item| item["gifticonId"].clone()).collect();
    assert_eq!((status, numbers), (200, vec![json!(30), json!(20)]));
    let wanted = json!({ "size": 2, "totalElements": 3, "totalPages": 2, "number": 0 });
    assert_eq!(page["page"], wanted);

    let body = json!({ "restock": "5" });
    assert_eq!(gifticon.ask(Method::PATCH, "/gifticons/2", body).await.0, 200);
    let changed = eventually("the change to be told", async || {
        let history = gifticon.log.log.history().await.unwrap();
        history.into_iter().find_map(|told| {
            let event: Value = serde_json::from_slice(told.payload.as_deref().unwrap()).unwrap();
            (event["eventType"] == "QuantityModified").then_some((told.key.clone(), event))
        })
    })
    .await;
    assert_eq!(changed.0.as_deref(), Some("20"));
    let event = &changed.1;
    assert_eq!((&event["id"], &event["availableQuantity"]), (&json!(2), &json!(10)));
    assert_eq!((&event["name"], &event["price"]), (&json!("Tea 20"), &json!(0)));
    assert!(event["timestamp"].is_string() && event["eventId"].is_string(), "{event}");
}

#[tokio::test]
async fn a_refused_reservation_is_told_to_nobody_and_the_last_unit_is_sold_once() {
    let gifticon = Gifticon::with_ten().await;
    assert_eq!(gifticon.reserve(Uuid::new_v4(), 11).await.0, 409);
    assert_eq!(gifticon.reserve(Uuid::new_v4(), 9).await.0, 201);
    let mut customers = JoinSet::new();
    for _ in 0..20 {
        let url = format!("{}/reservations/{}", gifticon.running.url(), Uuid::new_v4());
        let request = gifticon.client.put(url).json(&json!({ "gifticonId": 7, "quantity": 1 }));
        customers.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let mut answers = customers.join_all().await;
    answers.sort_unstable();
    assert_eq!((answers[0], answers[1], answers[19]), (201, 409, 409), "{answers:?}");
    assert_eq!(gifticon.available().await, 0);
    let told = eventually("the sale to be told", async || {
        let told = gifticon.log.told().await;
        (told.last()?["availableQuantity"] == 0).then_some(told)
    })
    .await;
    let mut left: Vec<_> =
        told.iter().map(|event| event["availableQuantity"].as_i64().unwrap()).collect();
    left.dedup();
    assert_eq!(left, [10, 1, 0], "nothing was told of what was refused: {told:?}");
}
