//! A small service to test the chassis with, and a bus that the test controls.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test uses a part")]

mod scripted;

pub use scripted::Scripted;

use anyhow::bail;
use axum::Router;
use chassis::base::progress::PROGRESS_INTERVAL;
use chassis::bus::Bus;
use chassis::http::Surface;
use chassis::model::{Publications, Rules, Tracked};
use chassis::storage::{Db, Schema, Tx};
use chassis::testing::{TestDb, eventually};
use chassis::workers::consumer::Policy;
use chassis::writer::{WriteModel, Writer};
use chassis::{Chassis, Running};
use chrono::{DateTime, Utc};
use common_events::{Envelope, Event, GifticonId, Stock};
use serde_json::Value;
use sqlx::{Row, query};
use std::sync::Arc;

pub fn schema() -> Schema {
    let table = "create table tallies (id bigint primary key, total bigint not null)";
    Schema::new(&[(1001, "tally", table)])
}

/// Adds up numbers by id. Refuses negative ones, panics at 13, fails in the database at 14, finds the database away at 15, and
/// takes so long at 16 that a line about progress is due.
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

/// The totals that a batch works on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    totals: Tracked<i64, (i64, i64)>,
    /// The numbers that the database answers in another way.
    special: Vec<i64>,
}

impl Rules for Tally {
    type State = Totals;
    type Command = Add;
    type Reply = i64;
    type Refusal = Negative;

    fn handle(state: &mut Totals, add: &Add, out: &mut Publications) -> Result<i64, Negative> {
        assert_ne!(add.number, 13, "this panic is part of the test");
        if add.number < 0 {
            return Err(Negative);
        }
        state.special.extend((14..=16).contains(&add.number).then_some(add.number));
        let (_, total) = state.totals.change(&add.id).expect("it was loaded");
        *total += add.number;
        out.publish(Event::QuantityModified(Stock {
            id: add.number,
            gifticon_id: Some(GifticonId(add.id)),
            name: None,
            available_quantity: Some(*total),
            price: None,
        }));
        Ok(*total)
    }
}

impl WriteModel for Tally {
    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Add]) -> anyhow::Result<Totals> {
        let mut state = Totals::default();
        for id in commands.iter().map(|add| add.id) {
            let select = format!("select total from tallies where id = $1{}", self.0.for_update());
            let row = query(sqlx::AssertSqlSafe(select)).bind(id).fetch_optional(&mut **tx).await?;
            state.totals.read(id, (id, row.map_or(Ok(0), |row| row.try_get(0))?));
        }
        Ok(state)
    }

    async fn save(&self, tx: &mut Tx<'_>, state: &Totals) -> anyhow::Result<()> {
        for number in &state.special {
            match number {
                14 => bail!("the database fails, says the test"),
                15 => return Err(sqlx::Error::PoolTimedOut.into()),
                _ => tokio::time::sleep(PROGRESS_INTERVAL).await,
            }
        }
        for (id, total) in state.totals.changed() {
            query(
                "insert into tallies (id, total) values ($1, $2) \
                 on conflict (id) do update set total = excluded.total",
            )
            .bind(*id)
            .bind(*total)
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }
}

/// Adds the quantity of every cart to the tally of its id.
pub struct AddQuantities;

impl Policy for AddQuantities {
    type Model = Tally;

    fn react(&self, envelope: &Envelope, _: DateTime<Utc>) -> Vec<Add> {
        match &envelope.event {
            Event::CartAdded(cart) => vec![Add { id: cart.id.0, number: cart.quantity }],
            _ => vec![],
        }
    }
}

/// The running service.
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

    /// Calls a management route of the dead-letter table. Returns the status and the JSON of the response.
    pub async fn admin(&self, method: reqwest::Method, path: &str) -> (u16, Value) {
        let client = chassis::http::client::new().unwrap();
        let url = format!("{}/admin/parked{path}", self.running.management_url().unwrap());
        let response = client.request(method, url).send().await.unwrap();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Returns the parked events.
    pub async fn parked(&self) -> Vec<Value> {
        self.admin(reqwest::Method::GET, "").await.1.as_array().unwrap().clone()
    }

    /// Returns the text of the metrics.
    pub async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.running.management_url().unwrap());
        chassis::http::client::new().unwrap().get(url).send().await.unwrap().text().await.unwrap()
    }

    pub async fn count(&self, table: &str) -> i64 {
        let count = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        self.db.fetch_one(query(count)).await.unwrap().get(0)
    }
}

pub fn cart_added(event: uuid::Uuid, id: i64, quantity: i64) -> String {
    format!(
        r#"{{"eventType":"CartAdded","timestamp":"20261231235959","eventId":"{event}","id":{id},"gifticonId":1,"quantity":{quantity}}}"#
    )
}
