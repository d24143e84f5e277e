//! Many reservations in one call, as cart makes them.

use crate::common::Gifticon;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection, Executor};
use uuid::Uuid;

fn item(id: Uuid, gifticon_id: i64, quantity: i64) -> Value {
    json!({ "reservationId": id, "gifticonId": gifticon_id, "quantity": quantity })
}

async fn reserve_each(gifticon: &Gifticon, items: &[Value]) -> (u16, Value) {
    gifticon.ask(Method::POST, "/reservations", json!({ "reservations": items })).await
}

#[tokio::test]
async fn each_has_the_answer_that_it_would_have_alone() {
    let gifticon = Gifticon::with_ten().await;
    let (repeated, released, new) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(gifticon.reserve(repeated, 2).await.0, 201);
    let release = format!("/reservations/{released}");
    assert_eq!(gifticon.ask(Method::DELETE, &release, Value::Null).await.0, 204);

    let items = [
        item(repeated, 7, 2),
        item(new, 7, 3),
        item(new, 7, 3),
        item(Uuid::now_v7(), 8, 1),
        item(Uuid::now_v7(), 7, 6),
        item(released, 7, 1),
        item(repeated, 7, 1),
    ];
    let (status, answers) = reserve_each(&gifticon, &items).await;
    assert_eq!(status, 200, "{answers}");
    let statuses: Vec<_> =
        answers.as_array().unwrap().iter().map(|answer| answer["status"].clone()).collect();
    assert_eq!(statuses, [200, 201, 200, 404, 409, 409, 422]);
    let made = &answers[1];
    assert_eq!(
        made,
        &json!({
            "status": 201, "reservationId": new, "gifticonId": 7, "quantity": 3, "name": "Americano", "price": 5000,
            "availableQuantity": 5,
        })
    );
    assert_eq!(answers[4], json!({ "status": 409, "availableQuantity": 5 }));
    assert_eq!(answers[5], json!({ "status": 409 }), "it was released before it was made");
    assert_eq!(gifticon.available().await, 5);
}

#[tokio::test]
async fn a_call_that_cannot_be_read_reserves_nothing() {
    let gifticon = Gifticon::with_ten().await;
    let good = || item(Uuid::now_v7(), 7, 1);
    let many: Vec<_> = (0..65).map(|_| good()).collect();
    let for_nobody = |owner: &str| {
        let mut item = good();
        item["owner"] = json!(owner);
        item
    };
    let bad: [(&[Value], u16); 7] = [
        (&[good(), for_nobody("")], 422),
        (&[good(), for_nobody("https://id.example#a\0b")], 422),
        (&[], 422),
        (&many, 422),
        (&[good(), item(Uuid::now_v7(), 7, 0)], 422),
        (&[good(), item(Uuid::now_v7(), 0, 1)], 422),
        (&[good(), json!({ "reservationId": "x", "gifticonId": 7, "quantity": 1 })], 400),
    ];
    for (items, expected) in bad {
        let (status, answer) = reserve_each(&gifticon, items).await;
        assert_eq!(status, expected, "{answer}");
    }
    assert_eq!(gifticon.available().await, 10);
}

#[tokio::test]
async fn each_is_kept_with_its_owner() {
    let gifticon = Gifticon::with_ten().await;
    let owners = ["https://id.example#alice", "https://id.example#bob", "guest"];
    let mut items = owners.map(|owner| {
        let mut item = item(Uuid::now_v7(), 7, 1);
        item["owner"] = json!(owner);
        item
    });
    items[2].as_object_mut().unwrap().remove("owner"); // as a cart from before there were owners asks
    assert_eq!(reserve_each(&gifticon, &items).await.0, 200);
    let body = json!({ "gifticonId": 7, "quantity": 1, "owner": owners[0] });
    let alone = format!("/reservations/{}", Uuid::now_v7());
    assert_eq!(gifticon.ask(Method::PUT, &alone, body).await.0, 201);

    let mut connection = AnyConnection::connect(gifticon.db.url.as_str()).await.unwrap();
    let read = "select owner from reservations order by id";
    let kept: Vec<String> = sqlx::query_scalar(read).fetch_all(&mut connection).await.unwrap();
    assert_eq!(kept, [owners[0], owners[1], owners[2], owners[0]]);
}

#[tokio::test]
async fn each_that_is_refused_for_overload_is_counted() {
    let gifticon = Gifticon::with_ten().await;
    let mut locked = AnyConnection::connect(gifticon.db.url.as_str()).await.unwrap();
    locked.execute("begin immediate").await.unwrap(); // the writer waits
    let items = [item(Uuid::now_v7(), 7, 1), item(Uuid::now_v7(), 7, 1)];
    assert_eq!(reserve_each(&gifticon, &items).await.0, 503);
    locked.execute("rollback").await.unwrap();
    let metrics = format!("{}/metrics", gifticon.running.management_url().unwrap());
    let metrics = gifticon.client.get(metrics).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("http_requests_shed_total{at=\"writer\"} 2\n"), "{metrics}");
    assert_eq!(gifticon.available().await, 10);
}
