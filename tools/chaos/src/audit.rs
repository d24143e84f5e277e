//! Checks of the databases and the topic, past the HTTP interface.

use crate::servers::Servers;
use anyhow::{Context, ensure};
use chassis::bus::{Bus, KafkaBus};
use gateway::services::names;
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The topic of the services.
const TOPIC: &str = "gifticon";

/// Messages that one poll returns at most.
const MESSAGES_PER_POLL: usize = 5_000;
/// Bound for the first messages of a new consumer group, which has to join.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bound for further messages.
const NEXT_MESSAGE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bound for messages while the history of a cart is read.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts the events that are not sent yet.
const OUTBOX: &str = "select cast(coalesce(sum(size), 0) as bigint) from outbox";

/// Counts the events in the dead-letter table.
const DEAD_LETTERS: &str = "select count(*) from parked";

/// What single services count: see [`invariants`].
const OF_SERVICES: [(&str, &str, &str); 6] = [
    ("cart", "select count(*) from intents", "attempts that are not ended"),
    ("cart", "select count(*) from attempt_blocks", "blocks of attempts that are not ended"),
    (
        "cart",
        "select count(*) from idempotency_keys where outcome = 'Pending'",
        "pending idempotency keys",
    ),
    ("payment", "select count(*) from payments where id is null", "payments that are not decided"),
    (
        "gifticon",
        "select count(*) from gifticons g where held <> (select cast(coalesce(sum(quantity), 0) as bigint) \
         from reservations r where r.gifticon_id = g.gifticon_id and r.status = 'Held')",
        "gifticons whose held stock differs from their reservations",
    ),
    (
        "cart",
        "select count(*) from counters where name = 'carts' and live <> \
         (select count(*) from carts where status <> 'CartRemoved')",
        "counters of live carts that are wrong",
    ),
];

/// Returns counts that are 0 in a shop that has settled. Each is the service whose database has it, a query that runs on SQLite
/// and Postgres, and what it counts.
///
/// - Nothing is under way: outboxes, attempts (`intents`), their blocks, pending idempotency keys and undecided payments are
///   empty.
/// - No event is in a dead-letter table (`parked`).
/// - Derived numbers agree with their rows: the stock that is held, and the number of live carts.
pub fn invariants() -> Vec<(&'static str, &'static str, String)> {
    let of_each = names().into_iter().flat_map(|service| {
        [
            (service, OUTBOX, format!("events in the outbox of {service}")),
            (service, DEAD_LETTERS, format!("events in the dead-letter table of {service}")),
        ]
    });
    let of_some =
        OF_SERVICES.into_iter().map(|(service, query, what)| (service, query, what.into()));
    of_each.chain(of_some).collect()
}

/// Checks the databases and the consumer groups once. The error is the first violation.
pub async fn check(servers: &Servers) -> Result<(), String> {
    for (service, query, what) in invariants() {
        let count = scalar(servers, service, query).await.map_err(|error| format!("{error:#}"))?;
        if count != 0 {
            return Err(format!("{count} {what}"));
        }
    }
    for group in names() {
        match KafkaBus::new(&servers.brokers(), TOPIC).lag(group).await {
            Ok(0) => {}
            Ok(lag) => return Err(format!("{lag} events that {group} has not read")),
            Err(error) => return Err(format!("the lag of {group} cannot be read: {error:#}")),
        }
    }
    Ok(())
}

/// Returns how many events a service has not sent yet.
pub async fn outbox_events(servers: &Servers, service: &str) -> anyhow::Result<i64> {
    scalar(servers, service, OUTBOX).await
}

async fn scalar(servers: &Servers, service: &str, query: &str) -> anyhow::Result<i64> {
    let mut connection = AnyConnection::connect(&servers.database(service)).await?;
    let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut connection).await?;
    Ok(row.try_get(0)?)
}

/// What is on the topic.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopicSummary {
    /// All messages.
    pub messages: usize,
    /// Messages whose event was sent before. A crash between sending and deleting leaves such copies.
    pub copies: usize,
}

/// Reads the whole topic. Fails if the events of a cart are out of order, copies aside, if two events state the same fact, or if
/// one names another owner than the others, or than whom the cart was promised to.
pub async fn read_topic(
    servers: &Servers,
    promised: &BTreeMap<i64, Arc<str>>,
) -> anyhow::Result<TopicSummary> {
    let bus = KafkaBus::new(&servers.brokers(), TOPIC);
    let mut reader = bus.subscribe(&format!("audit-{}", uuid::Uuid::new_v4())).await?;
    let (mut seen, mut topic) = (BTreeSet::new(), TopicSummary::default());
    let (mut steps, mut owners) = (BTreeMap::<i64, Vec<String>>::new(), promised.clone());
    // The topic has been read when no message comes for longer than a fetch takes.
    let mut idle_timeout = FIRST_MESSAGE_TIMEOUT;
    while let Ok(polled) = timeout(idle_timeout, reader.poll(MESSAGES_PER_POLL)).await {
        idle_timeout = NEXT_MESSAGE_TIMEOUT;
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
            let cart = cart.as_i64().context("a cart has an id")?;
            let owner = event["owner"].as_str().context("an event of a cart has an owner")?;
            let wanted = owners.entry(cart).or_insert_with(|| owner.into());
            ensure!(
                **wanted == *owner,
                "owners: {event_type} of cart {cart} is of {owner}, not {wanted}"
            );
            steps.entry(cart).or_default().push(event_type);
        }
    }
    reader.leave().await;
    for (cart, steps) in steps {
        let position = |wanted: &str| steps.iter().position(|step| step == wanted);
        let distinct: BTreeSet<&String> = steps.iter().collect();
        ensure!(
            distinct.len() == steps.len(),
            "G3: cart {cart} has two events of one type: {steps:?}"
        );
        ensure!(
            position("CartAdded") == Some(0),
            "order: the first event of cart {cart} is not CartAdded: {steps:?}"
        );
        let cancelled = position("PaymentCancelled");
        ensure!(
            cancelled.is_none()
                || cancelled > position("CartRemoved") && cancelled > position("PaymentApproved"),
            "order: PaymentCancelled of cart {cart} comes before what it follows from: {steps:?}"
        );
    }
    Ok(topic)
}

/// Returns all rows and messages of a cart, as text.
pub async fn cart_history(servers: &Servers, cart: i64) -> anyhow::Result<String> {
    let mut text = format!("the history of cart {cart}:\n");
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
            writeln!(text, "  {service}: {}", row.try_get::<String, _>(0)?)?;
        }
    }
    for service in names() {
        let mut connection = AnyConnection::connect(&servers.database(service)).await?;
        let waiting = "select cast(e ->> 'payload' as text) from outbox, json_array_elements(cast(events as json)) e \
                       where e ->> 'key' = $1 order by seq";
        for row in sqlx::query(waiting).bind(cart.to_string()).fetch_all(&mut connection).await? {
            writeln!(text, "  outbox of {service}: {}", row.try_get::<String, _>(0)?)?;
        }
    }
    let bus = KafkaBus::new(&servers.brokers(), TOPIC);
    let mut reader = bus.subscribe(&format!("history-{}", uuid::Uuid::new_v4())).await?;
    let key = cart.to_string();
    while let Ok(polled) = timeout(HISTORY_TIMEOUT, reader.poll(MESSAGES_PER_POLL)).await {
        for message in polled?.iter().filter(|message| message.key.as_ref() == Some(&key)) {
            let payload = String::from_utf8_lossy(message.payload.as_deref().unwrap_or_default());
            writeln!(text, "  topic {}: {payload}", message.position)?;
        }
    }
    Ok(text)
}
