//! A small service to test the plumbing with, and a bus that does what the test says.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test uses a part")]

use anyhow::bail;
use async_trait::async_trait;
use axum::Router;
use chassis::bus::{
    Bus, Delivery, Health, Message, Monitor, PublishError, Publisher, Subscription,
    TopicPosition as Place, TopicReplay,
};
use chassis::http::Surface;
use chassis::storage::{Db, Schema, Tx};
use chassis::testing::{TestDb, eventually};
use chassis::workers::consumer::Policy;
use chassis::writer::{Domain, Writer};
use chassis::{Chassis, Running};
use chrono::{DateTime, Utc};
use common_events::{Envelope, Event, GifticonId, Stock};
use sqlx::{Row, query};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

pub fn schema() -> Schema {
    let table = "create table tallies (id bigint primary key, total bigint not null)";
    Schema::new(&[(1001, "tally", table)])
}

/// Adds numbers up, by id. Refuses negative ones, panics at 13, and fails in the database at 14.
#[derive(Clone)]
pub struct Tally(pub Db);

#[derive(Clone, Copy, Debug)]
pub struct Add {
    pub id: i64,
    pub number: i64,
}

#[derive(Debug, thiserror::Error)]
#[error("negative")]
pub struct Negative;

impl Domain for Tally {
    type Batch = BTreeMap<i64, i64>;
    type Command = Add;
    type Event = Add;
    type Answer = i64;
    type Refusal = Negative;

    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Add]) -> anyhow::Result<Self::Batch> {
        let mut totals = BTreeMap::new();
        for add in commands {
            let select = format!("select total from tallies where id = $1{}", self.0.for_update());
            let row =
                query(sqlx::AssertSqlSafe(select)).bind(add.id).fetch_optional(&mut **tx).await?;
            totals.insert(add.id, row.map_or(Ok(0), |row| row.try_get(0))?);
        }
        Ok(totals)
    }

    fn decide(_: &Self::Batch, add: &Add) -> Result<Vec<Add>, Negative> {
        assert_ne!(add.number, 13, "this panic is part of the test");
        if add.number < 0 { Err(Negative) } else { Ok(vec![*add]) }
    }

    fn evolve(totals: &mut Self::Batch, add: &Add) {
        *totals.entry(add.id).or_default() += add.number;
    }

    fn answer(totals: &Self::Batch, add: &Add, _: bool) -> i64 {
        totals[&add.id]
    }

    async fn save(
        &self,
        tx: &mut Tx<'_>,
        totals: &Self::Batch,
        adds: &[Add],
    ) -> anyhow::Result<()> {
        for add in adds {
            if add.number == 14 {
                bail!("the database fails, says the test");
            }
            query(
                "insert into tallies (id, total) values ($1, $2) \
                 on conflict (id) do update set total = excluded.total",
            )
            .bind(add.id)
            .bind(totals[&add.id])
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }

    fn published(totals: &Self::Batch, adds: &[Add]) -> Vec<(usize, Event)> {
        let told = |(place, add): (usize, &Add)| {
            let stock = Stock {
                id: add.number,
                gifticon_id: Some(GifticonId(add.id)),
                name: None,
                available_quantity: Some(totals[&add.id]),
                price: None,
            };
            (place, Event::QuantityModified(stock))
        };
        adds.iter().enumerate().map(told).collect()
    }
}

/// Adds the quantity of every cart to the tally of its id.
pub struct AddQuantities;

impl Policy for AddQuantities {
    type Domain = Tally;

    fn react(&self, envelope: &Envelope, _: DateTime<Utc>) -> Vec<Add> {
        match &envelope.event {
            Event::CartAdded(cart) => vec![Add { id: cart.id.0, number: cart.quantity }],
            _ => vec![],
        }
    }
}

/// The service, running.
pub struct Service {
    pub writer: Writer<Tally>,
    pub running: Running,
    pub db: Db,
}

impl Service {
    pub async fn start(db: &TestDb, bus: &Scripted) -> Self {
        let bus: Arc<dyn Bus> = Arc::new(bus.clone());
        let mut chassis = Chassis::open("tally", &db.host(), schema(), bus).await.unwrap();
        let db = chassis.db().clone();
        let writer = chassis.writer(Tally(db.clone()));
        chassis.relay();
        chassis.react(AddQuantities, &writer);
        db.ready().await;
        Self { writer, running: chassis.serve(Surface::default(), Router::new()).unwrap(), db }
    }

    pub async fn total(&self, id: i64) -> i64 {
        let row = query("select total from tallies where id = $1").bind(id);
        self.db.fetch_optional(row).await.unwrap().map_or(0, |row| row.get(0))
    }

    pub async fn outbox_is_empty(&self) {
        eventually("an empty outbox", async || (self.count("outbox").await == 0).then_some(()))
            .await;
    }

    pub async fn count(&self, table: &str) -> i64 {
        let count = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        self.db.fetch_one(query(count)).await.unwrap().get(0)
    }
}

/// A bus that delivers what a test puts in, and keeps or fails what is sent as the test says.
#[derive(Clone, Default)]
pub struct Scripted(Arc<Script>);

#[derive(Default)]
struct Script {
    coming: Mutex<VecDeque<Arc<Delivery>>>,
    put: Notify,
    next: Mutex<i64>,
    done: Mutex<Vec<Place>>,
    sent: Mutex<Vec<Message>>,
    /// What the next messages are answered with; `Ok` when it is empty.
    answers: Mutex<VecDeque<Result<(), PublishError>>>,
}

impl Scripted {
    /// Has a message come. Messages that come together are put in one by one and polled together.
    pub fn put(&self, key: Option<&str>, payload: impl AsRef<[u8]>) -> Place {
        let mut next = self.0.next.lock().unwrap();
        *next += 1;
        self.put_at(*next, key, Some(payload.as_ref()))
    }

    /// Has a message come that is at this offset; without a payload, a tombstone.
    pub fn put_at(&self, offset: i64, key: Option<&str>, payload: Option<&[u8]>) -> Place {
        let place = Place { partition: 0, offset };
        let payload = payload.map(<[u8]>::to_vec);
        let (key, headers) = (key.map(Into::into), vec![]);
        let delivery = Delivery { position: place, key, payload, headers, timestamp: 0 };
        self.0.coming.lock().unwrap().push_back(Arc::new(delivery));
        self.0.put.notify_one();
        place
    }

    /// Has a `CartAdded` come, with an id of its own.
    pub fn put_cart(&self, id: i64, quantity: i64) -> (Place, String) {
        let event = uuid::Uuid::new_v4();
        let json = cart_added(event, id, quantity);
        (self.put(Some(&id.to_string()), &json), json)
    }

    pub fn answer_next(&self, answers: impl IntoIterator<Item = Result<(), PublishError>>) {
        self.0.answers.lock().unwrap().extend(answers);
    }

    pub fn is_done(&self, place: Place) -> bool {
        self.0.done.lock().unwrap().contains(&place)
    }

    /// The payloads that were sent and kept, in order.
    pub fn sent(&self) -> Vec<Message> {
        self.0.sent.lock().unwrap().clone()
    }
}

pub fn cart_added(event: uuid::Uuid, id: i64, quantity: i64) -> String {
    format!(
        r#"{{"eventType":"CartAdded","timestamp":"20261231235959","eventId":"{event}","id":{id},"gifticonId":1,"quantity":{quantity}}}"#
    )
}

#[async_trait]
impl Bus for Scripted {
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>> {
        Ok(Arc::new(self.clone()))
    }

    async fn subscribe(&self, _: &str) -> anyhow::Result<Box<dyn Subscription>> {
        Ok(Box::new(self.clone()))
    }

    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>> {
        bail!("nobody replays this bus")
    }
}

#[async_trait]
impl Publisher for Scripted {
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), PublishError>> {
        let mut answers = self.0.answers.lock().unwrap();
        let mut results = Vec::new();
        for message in messages {
            let answer = answers.pop_front().unwrap_or(Ok(()));
            if !matches!(answer, Err(PublishError::Refused(_))) {
                // An unknown outcome may well have arrived.
                self.0.sent.lock().unwrap().push(message.clone());
            }
            results.push(answer);
        }
        results
    }
}

#[async_trait]
impl Subscription for Scripted {
    async fn poll(&mut self, most: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        loop {
            let taken: Vec<Arc<Delivery>> = {
                let mut coming = self.0.coming.lock().unwrap();
                let count = most.min(coming.len());
                coming.drain(..count).collect()
            };
            if !taken.is_empty() {
                return Ok(taken);
            }
            self.0.put.notified().await;
        }
    }

    async fn commit(&mut self, positions: &[Place]) -> anyhow::Result<()> {
        self.0.done.lock().unwrap().extend(positions);
        Ok(())
    }

    fn topic(&self) -> &'static str {
        "scripted"
    }

    fn monitor(&self) -> Monitor {
        Box::new(|| Health { lag: Some(0), ..Health::default() })
    }

    async fn leave(self: Box<Self>) {}
}
