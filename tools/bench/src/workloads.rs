//! Workloads of the shop.

use crate::load::{self, Measured, Requests};
use crate::measure::{CONNECTIONS, DRAIN_TIMEOUT, drains, row};
use crate::report::Row;
use crate::shop::Shop;
use crate::wire::{Wire, authorized, request};
use anyhow::{bail, ensure};
use chaos::Dice;
use serde_json::Value;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Gifticons on sale.
pub(crate) const GIFTICONS: i64 = 1_000;
/// Stock of each gifticon: more than any run sells.
pub(crate) const STOCK: i64 = 1_000_000_000;
/// How long a shop on Kafka is loaded before it is measured.
const JVM_WARM_UP_TIME: Duration = Duration::from_secs(30);
/// Registrations at a time: they share commits.
const REGISTRATIONS: usize = 200;
/// Attempts to register a gifticon: a server may refuse while it is busy, or close a connection that was idle.
const REGISTRATION_ATTEMPTS: u32 = 10;
/// Time between two of them.
const REGISTRATION_INTERVAL: Duration = Duration::from_millis(100);
/// Name of the mixed workload in rows.
pub(crate) const MIXED: &str = "mixed shop: 80 % reads, 15 % carts, 5 % cancels";
/// Carts that it reads and cancels, up to this id.
const MIXED_CARTS: u64 = 1_000;

/// Registers all gifticons, and returns their ids in the order of their numbers. Then loads a shop on Kafka until the JVM of the
/// broker has compiled what it runs: before that, a cart takes some 4 times as much of the broker's CPU.
pub(crate) async fn stock_up(shop: &Shop) -> anyhow::Result<Vec<i64>> {
    let ids = register(shop, 1..=GIFTICONS).await?;
    if shop.is_on_servers() {
        load::closed(shop.addr("gateway"), CONNECTIONS.into(), JVM_WARM_UP_TIME, hot()).await;
        drains(shop).await?;
    }
    Ok(ids)
}

/// Registers gifticons with these numbers, and returns their ids in the order of their numbers. Of a gifticon that was there
/// before, the id is taken to be the number.
pub(crate) async fn register(
    shop: &Shop,
    numbers: RangeInclusive<i64>,
) -> anyhow::Result<Vec<i64>> {
    let (addr, next) = (shop.addr("gateway"), Arc::new(AtomicI64::new(*numbers.start())));
    let last = *numbers.end();
    let mut registrations = JoinSet::new();
    for worker in 0..REGISTRATIONS {
        let (next, token) = (Arc::clone(&next), shop.token_of_md(worker));
        registrations.spawn(async move {
            let (mut wire, mut ids) = (None, Vec::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > last {
                    return anyhow::Ok(ids);
                }
                ids.push((number, register_one(&mut wire, addr, number, token.as_deref()).await?));
            }
        });
    }
    let mut ids = Vec::new();
    while let Some(some) = registrations.join_next().await {
        ids.extend(some??);
    }
    ids.sort_unstable();
    Ok(ids.into_iter().map(|(_, id)| id).collect())
}

async fn register_one(
    wire: &mut Option<Wire>,
    addr: SocketAddr,
    number: i64,
    token: Option<&str>,
) -> anyhow::Result<i64> {
    let body = format!(
        r#"{{"gifticonId":"{number}","name":"Americano","availableQuantity":"{STOCK}","price":"5000"}}"#
    );
    let mut register = request("POST", "/gifticons", &body);
    if let Some(token) = token {
        register = authorized(register, token);
    }
    for _ in 0..REGISTRATION_ATTEMPTS {
        let answer = load::ask(wire, addr, &register).await;
        match answer {
            Some(answer) if (200..300).contains(&answer.status) => {
                let item: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                return Ok(item["id"].as_i64().unwrap_or(number));
            }
            Some(answer) if answer.status == 409 => return Ok(number),
            _ => sleep(REGISTRATION_INTERVAL).await,
        }
    }
    bail!("gifticon {number} was not registered")
}

/// Returns requests `POST /carts` of one gifticon.
pub(crate) fn hot() -> Requests {
    let add = hot_request();
    Arc::new(move |_| add.clone())
}

/// Returns the request of [`hot`].
pub(crate) fn hot_request() -> Vec<u8> {
    request("POST", "/carts", r#"{"gifticonId":1,"quantity":1}"#)
}

/// Returns requests `POST /carts` of random gifticons.
pub(crate) fn any() -> Requests {
    Arc::new(|dice| {
        let id = dice.roll(GIFTICONS.unsigned_abs()) + 1;
        request("POST", "/carts", &format!(r#"{{"gifticonId":{id},"quantity":1}}"#))
    })
}

/// Returns the requests of [`MIXED`].
pub(crate) fn mixed() -> Requests {
    Arc::new(|dice| {
        let cart = dice.roll(MIXED_CARTS) + 1;
        match dice.roll(100) {
            0..20 => request(
                "GET",
                &format!("/gifticons/{}", dice.roll(GIFTICONS.unsigned_abs()) + 1),
                "",
            ),
            20..40 => request("GET", "/gifticons?size=20", ""),
            40..60 => request("GET", &format!("/mypages/search/findByCartId?cartId={cart}"), ""),
            60..80 => request("GET", "/mypages?size=20", ""),
            80..95 => request("POST", "/carts", r#"{"gifticonId":2,"quantity":1}"#),
            _ => request("DELETE", &format!("/carts/{cart}"), ""),
        }
    })
}

/// Measures the time from `POST /carts` to the approved payment in the view, one cart at a time.
pub(crate) async fn visible(shop: &Shop, carts: u32) -> anyhow::Result<Row> {
    let mut measured = Measured::new();
    let (mut wire, began) = (Wire::to(shop.addr("gateway")).await?, Instant::now());
    let mut dice = Dice::new(7);
    for _ in 0..carts {
        let asked = Instant::now();
        let made = wire.ask(&any()(&mut dice)).await?;
        ensure!(made.status == 201, "a cart was answered {}", made.status);
        let made: Value = serde_json::from_slice(&made.body)?;
        let look =
            request("GET", &format!("/mypages/search/findByCartId?cartId={}", made["id"]), "");
        loop {
            let seen = wire.ask(&look).await?;
            if seen.status == 200
                && serde_json::from_slice::<Value>(&seen.body)?["status"] == "PaymentApproved"
            {
                break;
            }
            ensure!(asked.elapsed() < DRAIN_TIMEOUT, "the payment did not show in the view");
            sleep(Duration::from_millis(1)).await;
        }
        measured.note(200, asked.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    measured.took = began.elapsed();
    row(shop, "POST to visible in mypage, one at a time", &measured, None)
}
