//! What requests to the gifticon service mean: their conditions, and the names in them.

use crate::common::Gifticon;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection};
use uuid::Uuid;

#[tokio::test]
async fn a_request_whose_conditions_do_not_hold_changes_nothing() {
    let gifticon = Gifticon::with_ten().await;
    let with = async |method: Method, headers: &[(&'static str, &'static str)]| {
        let url = format!("{}/gifticons/1", gifticon.running.url());
        let request = gifticon.client.request(method.clone(), url);
        let request =
            if method == Method::PATCH { request.json(&json!({ "restock": 1 })) } else { request };
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    };
    for (headers, holds) in [
        (&[("if-match", "\"999\"")][..], false),
        (&[("if-match", "\"999\", \"777\"")], false),
        (&[("if-match", "W/\"1\"")], false),
        (&[("if-match", "1")], false),
        (&[("if-match", "")], false),
        (&[("if-none-match", "*")], false),
        (&[("if-none-match", "\"999\", W/\"1\"")], false),
        (&[("if-match", "*"), ("if-none-match", "*")], false),
        (&[("if-match", "\"1\""), ("if-none-match", "\"1\"")], false),
        (&[("if-match", "*")], true),
        (&[("if-match", "\"777\", \"2\"")], true),
        (&[("if-match", "\"777\""), ("if-match", "\"3\"")], true),
        (&[("if-none-match", "\"3\"")], true),
    ] {
        if !holds {
            let deleted = with(Method::DELETE, headers).await;
            assert_eq!(deleted.status(), 412, "DELETE {headers:?}");
            let problem: Value = deleted.json().await.unwrap();
            assert_eq!(problem["type"], "/problems/precondition-failed");
        }
        let patched = with(Method::PATCH, headers).await;
        assert_eq!(patched.status(), if holds { 200 } else { 412 }, "PATCH {headers:?}");
    }
    assert_eq!(gifticon.available().await, 14, "by the four whose conditions held");
    assert_eq!(with(Method::DELETE, &[("if-match", "\"4\", \"5\"")]).await.status(), 204);
    // There is nothing any more that a condition could be of.
    for headers in [&[("if-match", "*")], &[("if-match", "\"5\"")], &[("if-none-match", "*")]] {
        assert_eq!(with(Method::DELETE, headers).await.status(), 404);
    }
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let gifticon = Gifticon::with_ten().await;
    for path in ["/gifticons/1", "/gifticons/search/findByGifticonId?gifticonId=7"] {
        for method in [Method::GET, Method::HEAD] {
            for (name, value, status) in [
                ("if-none-match", "\"1\"", 304),
                ("if-none-match", "W/\"1\"", 304),
                ("if-none-match", "\"7\", \"1\"", 304),
                ("if-none-match", "*", 304),
                ("if-none-match", "\"7\"", 200),
                ("if-none-match", "1", 200),
                ("if-match", "\"1\"", 200),
                ("if-match", "*", 200),
                ("if-match", "\"7\"", 412),
                ("if-match", "W/\"1\"", 412),
            ] {
                let url = format!("{}{path}", gifticon.running.url());
                let request = gifticon.client.request(method.clone(), url).header(name, value);
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), status, "{method} {path} {name}: {value}");
                if status != 412 {
                    assert_eq!(answer.headers()["etag"], "\"1\"");
                }
                if status == 304 {
                    assert!(!answer.headers().contains_key("content-length"));
                    assert_eq!(answer.text().await.unwrap(), "");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_name_is_1_to_80_characters_that_can_be_seen() {
    let gifticon = Gifticon::with_ten().await;
    let mut number = 100;
    let mut named = async |name: &str| {
        number += 1;
        let body = json!({"gifticonId": number, "name": name, "availableQuantity": 1, "price": 1});
        let (status, registered) = gifticon.ask(Method::POST, "/gifticons", body).await;
        let (patched, _) =
            gifticon.ask(Method::PATCH, "/gifticons/1", json!({ "name": name })).await;
        assert_eq!((status, patched), if status == 201 { (201, 200) } else { (422, 422) });
        (status, registered)
    };
    // 40 syllables, as a Mac sends them.
    let (status, registered) = named(&"\u{1112}\u{1161}\u{11ab}".repeat(40)).await;
    assert_eq!((status, &registered["name"]), (201, &json!("한".repeat(40))));
    assert_eq!(named(&"커".repeat(80)).await.0, 201);
    for name in [
        &"커".repeat(81)[..],
        "\u{200b}",
        "\u{3164}",
        "\u{2800}",
        "\u{202e}",
        "\u{feff}\u{ad}\u{fe0f}",
        "Latte\u{202e}",
    ] {
        let (status, problem) = named(name).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("name")), "{name:?}");
    }
    let url = format!("{}/gifticons", gifticon.running.url());
    let body = json!({"gifticonId": 99, "name": "\u{3164}", "availableQuantity": 1, "price": 1});
    let request = gifticon.client.post(url).json(&body).header("accept-language", "ko");
    let problem: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(problem["errors"][0]["message"], "눈에 보이는 문자가 하나 이상 필요합니다");
}

/// Names could have 100 characters once.
#[tokio::test]
async fn a_name_that_was_too_long_for_today_is_shown_and_its_gifticon_can_be_changed() {
    let gifticon = Gifticon::with_ten().await;
    let mut connection = AnyConnection::connect(gifticon.db.url.as_str()).await.unwrap();
    let name = "x".repeat(100);
    sqlx::query("update gifticons set name = $1")
        .bind(name.as_str())
        .execute(&mut connection)
        .await
        .unwrap();
    let change = json!({ "price": 4000 });
    let (status, changed) = gifticon.ask(Method::PATCH, "/gifticons/1", change).await;
    assert_eq!((status, &changed["price"], &changed["name"]), (200, &json!(4000), &json!(name)));
    let (status, reserved) = gifticon.reserve(Uuid::new_v4(), 1).await;
    assert_eq!((status, &reserved["name"]), (201, &json!(name)));
}
