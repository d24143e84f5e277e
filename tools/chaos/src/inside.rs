//! The audit from inside: databases and topic.

use crate::servers::{SERVICES, Servers};
use anyhow::{Context, ensure};
use chassis::bus::{Bus, KafkaBus};
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::timeout;

/// The services' topic.
const TOPIC: &str = "gifticon";

/// Events that are not sent yet.
const OUTBOX: &str = "select cast(coalesce(sum(size), 0) as bigint) from outbox";

/// What must be nought in a shop that has settled: service, query, for either database, and what it counts.
pub const INVARIANTS: [(&str, &str, &str); 12] = [
    ("gifticon", OUTBOX, "events in the outbox of gifticon"),
    ("cart", OUTBOX, "events in the outbox of cart"),
    ("payment", OUTBOX, "events in the outbox of payment"),
    ("gifticon", "select count(*) from parked", "events parked by gifticon"),
    ("cart", "select count(*) from parked", "events parked by cart"),
    ("payment", "select count(*) from parked", "events parked by payment"),
    ("mypage", "select count(*) from parked", "events parked by mypage"),
    ("cart", "select count(*) from intents", "intents that nobody ended"),
    ("cart", "select count(*) from idempotency_keys where outcome = 'Pending'", "pending keys"),
    ("payment", "select count(*) from payments where id is null", "payments that are not decided"),
    (
        "gifticon",
        "select count(*) from gifticons g where held <> (select cast(coalesce(sum(quantity), 0) as bigint) \
         from reservations r where r.gifticon_id = g.gifticon_id and r.status = 'Held')",
        "gifticons that hold other than their reservations",
    ),
    (
        "cart",
        "select count(*) from counters where name = 'carts' and live <> \
         (select count(*) from carts where status <> 'CartRemoved')",
        "wrong counters of carts",
    ),
];

/// Looks once into the databases, and says what is not as it must be.
pub async fn check(servers: &Servers) -> Result<(), String> {
    for (service, query, what) in INVARIANTS {
        let count = scalar(servers, service, query).await.map_err(|error| format!("{error:#}"))?;
        if count != 0 {
            return Err(format!("{count} {what}"));
        }
    }
    for group in SERVICES {
        match KafkaBus::new(&servers.brokers(), TOPIC).lag(group).await {
            Ok(0) => {}
            Ok(lag) => return Err(format!("{lag} events that {group} has not read")),
            Err(error) => return Err(format!("the lag of {group} cannot be read: {error:#}")),
        }
    }
    Ok(())
}

/// Events that a service has not sent yet.
pub async fn outbox(servers: &Servers, service: &str) -> anyhow::Result<i64> {
    scalar(servers, service, OUTBOX).await
}

async fn scalar(servers: &Servers, service: &str, query: &str) -> anyhow::Result<i64> {
    let mut connection = AnyConnection::connect(&servers.database(service)).await?;
    let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut connection).await?;
    Ok(row.try_get(0)?)
}

/// What the topic holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Topic {
    /// Messages.
    pub messages: usize,
    /// Copies of an earlier one: what crashes between send and delete leave.
    pub copies: usize,
}

/// Reads the whole topic, and checks that the first copies of each cart's events are in order and that
/// each fact was told as one event.
pub async fn topic(servers: &Servers) -> anyhow::Result<Topic> {
    let bus = KafkaBus::new(&servers.brokers(), TOPIC);
    let mut reader = bus.subscribe(&format!("audit-{}", uuid::Uuid::new_v4())).await?;
    let (mut seen, mut topic) = (BTreeSet::new(), Topic::default());
    let mut steps: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    // The end is where nothing comes for longer than a fetch takes.
    let mut patience = Duration::from_secs(20);
    while let Ok(polled) = timeout(patience, reader.poll(5_000)).await {
        patience = Duration::from_secs(3);
        for message in polled? {
            topic.messages += 1;
            let event: Value =
                serde_json::from_slice(message.payload.as_deref().unwrap_or_default())?;
            if !seen.insert(event["eventId"].as_str().context("an event has an id")?.to_owned()) {
                topic.copies += 1;
                continue;
            }
            let event_type = event["eventType"].as_str().context("an event has a type")?.to_owned();
            let cart = match event_type.as_str() {
                "CartAdded" | "CartRemoved" => &event["id"],
                "PaymentApproved" | "PaymentDeclined" | "PaymentCancelled" => &event["cartId"],
                _ => continue,
            };
            steps.entry(cart.as_i64().context("a cart has an id")?).or_default().push(event_type);
        }
    }
    reader.leave().await;
    for (cart, steps) in steps {
        let place = |wanted: &str| steps.iter().position(|step| step == wanted);
        let distinct: BTreeSet<&String> = steps.iter().collect();
        ensure!(distinct.len() == steps.len(), "G3: cart {cart} was told twice of: {steps:?}");
        ensure!(place("CartAdded") == Some(0), "order: cart {cart} began otherwise: {steps:?}");
        let cancelled = place("PaymentCancelled");
        ensure!(
            cancelled.is_none()
                || cancelled > place("CartRemoved") && cancelled > place("PaymentApproved"),
            "order: the payment of cart {cart} was cancelled too early: {steps:?}"
        );
    }
    Ok(topic)
}

/// All that the databases and the topic know of a cart.
pub async fn history(servers: &Servers, cart: i64) -> anyhow::Result<String> {
    let mut told = format!("the history of cart {cart}:\n");
    let queries = [
        ("cart", format!("select cast(row_to_json(c) as text) from carts c where id = {cart}")),
        (
            "payment",
            format!("select cast(row_to_json(p) as text) from payments p where cart_id = {cart}"),
        ),
        (
            "mypage",
            format!("select cast(row_to_json(v) as text) from views v where cart_id = {cart}"),
        ),
    ];
    for (service, query) in queries {
        let mut connection = AnyConnection::connect(&servers.database(service)).await?;
        for row in sqlx::query(AssertSqlSafe(query)).fetch_all(&mut connection).await? {
            writeln!(told, "  {service}: {}", row.try_get::<String, _>(0)?)?;
        }
    }
    for service in SERVICES {
        let mut connection = AnyConnection::connect(&servers.database(service)).await?;
        let waiting = "select cast(e ->> 'payload' as text) from outbox, json_array_elements(cast(events as json)) e \
                       where e ->> 'key' = $1 order by seq";
        for row in sqlx::query(waiting).bind(cart.to_string()).fetch_all(&mut connection).await? {
            writeln!(told, "  outbox of {service}: {}", row.try_get::<String, _>(0)?)?;
        }
    }
    let bus = KafkaBus::new(&servers.brokers(), TOPIC);
    let mut reader = bus.subscribe(&format!("history-{}", uuid::Uuid::new_v4())).await?;
    let key = cart.to_string();
    while let Ok(polled) = timeout(Duration::from_secs(5), reader.poll(5_000)).await {
        for message in polled?.iter().filter(|message| message.key.as_ref() == Some(&key)) {
            let payload = String::from_utf8_lossy(message.payload.as_deref().unwrap_or_default());
            writeln!(told, "  topic {}: {payload}", message.position)?;
        }
    }
    Ok(told)
}
