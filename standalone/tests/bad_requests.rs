//! Bad requests: each is refused with a problem at the gateway and at the service itself, and changes nothing. Random
//! requests are never answered with 5xx.

mod common;
#[path = "bad_requests/messages.rs"]
mod messages;
#[path = "bad_requests/request.rs"]
mod request;
#[path = "bad_requests/table.rs"]
mod table;

use common::{Dice, Shop, ShopClient, audit, seed};
use gateway::services::{SERVICES, names};
use request::{Bad, JSON};
use serde_json::{Value, json};
use std::fmt::Write as _;
use table::{carts, everywhere, gifticons, histories, management, reservations, views};

/// Returns all items of all collections.
async fn shown(web: &ShopClient) -> Value {
    let mut all = json!({});
    for collection in SERVICES.map(|service| service.collection()) {
        all[collection] = json!(web.all(collection).await.unwrap());
    }
    all
}

#[tokio::test]
async fn every_bad_request_is_refused_with_a_problem_and_changes_nothing() {
    let shop = Shop::with_a_paid_cart().await;
    let (web, direct) = (&shop.web, &shop.direct);
    let services: Vec<_> = direct.values().collect();
    let mut rows = Vec::new();
    for (bad, service) in [
        (gifticons(), &direct["gifticon"]),
        (carts(), &direct["cart"]),
        (views("payments"), &direct["payment"]),
        (views("mypages"), &direct["mypage"]),
        (histories(), &direct["mypage"]),
    ] {
        rows.extend(bad.into_iter().map(|bad| (bad, vec![web, service])));
    }
    rows.extend(reservations().into_iter().map(|bad| (bad, vec![&direct["gifticon"]])));
    let managed: Vec<_> = names().into_iter().map(|name| &shop.management[name]).collect();
    rows.extend(management().into_iter().map(|bad| (bad, managed.clone())));
    let all = [&services[..], &[web]].concat();
    rows.extend(everywhere().into_iter().map(|bad| (bad, all.clone())));

    let mut before = shown(web).await;
    let (mut faults, count) = (Vec::new(), rows.len());
    for (bad, doors) in rows {
        for door in doors {
            let fault = bad.fault(door).await;
            let after = shown(web).await;
            let changed = (after != before).then(|| "a change of what is shown".to_owned());
            let at = if door.base == web.base { "gateway" } else { "service" };
            faults.extend(fault.or(changed).map(|fault| format!("{at}: {bad}{fault}")));
            before = after;
        }
    }
    println!("{count} bad requests");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    audit::settled(shop.stop().await.path()).await;
}

/// Returns a random request, which may be valid.
fn any_request(dice: &mut Dice) -> Bad {
    let pick = |dice: &mut Dice, of: &[&'static str]| {
        of[usize::try_from(dice.roll(of.len() as u64)).unwrap()]
    };
    let values =
        r#"1|"1"|-1|0|1.5|1e400|-0|null|true|[]|{}|""|"\u0000"|"\ud83d"|"커피"|1E2||2147483647"#;
    let more =
        r#"9223372036854775807|-9223372036854775808|18446744073709551616|{"a":[1,{}]}|"' or 1=1""#;
    let values: Vec<&str> = values.split('|').chain(more.split('|')).collect();
    let (method, mut path) =
        [("POST", "/carts"), ("POST", "/gifticons"), ("PATCH", "/gifticons/1")]
            .map(|(method, path)| (method, path.to_owned()))
            [usize::try_from(dice.roll(3)).unwrap()]
        .clone();
    let fields =
        ["gifticonId", "quantity", "name", "availableQuantity", "price", "restock", "other"];
    let chosen: Vec<String> = fields
        .iter()
        .filter_map(|field| {
            let value = pick(dice, &values);
            (dice.roll(4) > 0).then(|| format!("\"{field}\":{value}"))
        })
        .collect();
    let mut body = format!("{{{}}}", chosen.join(",")).into_bytes();
    for _ in 0..dice.roll(4) {
        let at = usize::try_from(dice.roll(body.len() as u64)).unwrap();
        match dice.roll(4) {
            0 => body[at] = u8::try_from(dice.roll(256)).unwrap(),
            1 => body.truncate(at.max(1)),
            2 => body.insert(at, u8::try_from(dice.roll(256)).unwrap()),
            _ => {}
        }
    }
    let any_text = |dice: &mut Dice| -> String {
        let mut text = String::new();
        for _ in 0..dice.roll(12) {
            let _ = write!(text, "%{:02x}", dice.roll(256));
        }
        text
    };
    if dice.roll(4) == 0 {
        path.push('/');
        path.push_str(&any_text(dice));
    }
    if dice.roll(4) == 0 {
        let name = pick(dice, &["page", "size", "sort", "after", "cartId", "x", "%00", "&&=", "%"]);
        let _ = write!(path, "?{name}={}", any_text(dice));
    }
    let content_type =
        pick(dice, &[JSON, JSON, JSON, JSON, "application/json;charset=x", "text/plain"]);
    let method =
        if dice.roll(8) == 0 { pick(dice, &["GET", "DELETE", "PUT", "POST"]) } else { method };
    let any = Bad { content_type: Some(content_type), ..Bad::json(method, &path, body, 0) };
    match dice.roll(6) {
        0 => any.header("idempotency-key", pick(dice, &["", "a", "b", "\u{e9}", "  "])),
        1 => any.header("if-match", pick(dice, &["*", "\"1\"", "\"x\"", "", "W/\"1\""])),
        2 => any.header("accept-language", pick(dice, &["ko", "*", ";;q=x", "\u{e9}", ""])),
        _ => any,
    }
}

#[tokio::test]
async fn random_requests_are_never_answered_with_5xx() {
    let shop = Shop::with_a_paid_cart().await;
    let mut dice = Dice::new(seed());
    for door in [&shop.web, &shop.direct["gifticon"], &shop.direct["cart"]] {
        for _ in 0..300 {
            let any = any_request(&mut dice);
            let answer =
                any.to(door).send().await.unwrap_or_else(|error| panic!("{any} {error:?}"));
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert!(status.as_u16() < 500, "{any} {status}: {text}");
        }
    }
    audit::settled(shop.stop().await.path()).await;
}
