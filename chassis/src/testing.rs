//! Fixtures for tests: databases, a bus, and waiting for a state.

use crate::base::config::{DatabaseUrl, Host, Listen};
use crate::bus::{Bus, Delivery, EmbeddedLog, Publisher, Subscription, TopicReplay};
use crate::model::{Outcome, Publications, Rules, handle_all};
use crate::storage::{Db, Dialect, Schema};
use crate::writer::WriteModel;
use async_trait::async_trait;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

/// How long a test waits for a state before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `ask` answers something, and panics with `what` it waited for when it never does.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A database of a test's own.
pub struct TestDb {
    /// Its address.
    pub url: DatabaseUrl,
    _dir: TempDir,
}

impl TestDb {
    /// A SQLite file.
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let url = format!("sqlite:{}", dir.path().join("test.db").display());
        Self { url: url.parse().expect("it is a SQLite URL"), _dir: dir }
    }

    /// A new database on the server that `TEST_DATABASE_URL` names, or none where it names none.
    ///
    /// # Panics
    /// Where the server cannot be used.
    pub async fn postgres() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests find their servers by environment")]
        let server = std::env::var("TEST_DATABASE_URL").ok()?;
        let name = format!("test_{}", Uuid::new_v4().simple());
        sqlx::any::install_default_drivers();
        let mut connection =
            sqlx::AnyConnection::connect(&server).await.expect("the test server answers");
        let create = AssertSqlSafe(format!("create database {name}"));
        connection.execute(create).await.expect("a database can be made");
        let (server, _) = server.rsplit_once('/').expect("the URL ends with a database");
        let url = format!("{server}/{name}").parse().expect("it is a Postgres URL");
        Some(Self { url, _dir: tempfile::tempdir().expect("a temporary directory can be made") })
    }

    /// Opens it with the tables of `schema`.
    pub async fn open(&self, schema: &Schema) -> Db {
        let db = Db::open(&self.url, schema).await.expect("the database opens");
        db.migrate(schema).await;
        db
    }

    /// The same as two replicas have it. A SQLite file has one process, whose two writing connections these are.
    pub async fn open_twice(&self, schema: &Schema) -> (Db, Db) {
        let one = self.open(schema).await;
        let other = match one.dialect() {
            Dialect::Sqlite => one.clone(),
            Dialect::Postgres => self.open(schema).await,
        };
        (one, other)
    }

    /// The settings of a service on it, on a free port.
    pub fn host(&self) -> Host {
        Host { listen: Listen::free(), database_url: self.url.clone() }
    }
}

/// Carries commands out as the writer does, in one transaction, and returns the outcome of each.
pub async fn carry_out<M: WriteModel>(
    db: &Db,
    model: &M,
    commands: &[M::Command],
) -> anyhow::Result<Vec<Outcome<M>>> {
    let mut tx = db.begin().await?;
    let mut state = model.load(&mut tx, &commands.iter().collect::<Vec<_>>()).await?;
    let (outcomes, _) = handle_all::<M>(&mut state, commands);
    model.save(&mut tx, &state).await?;
    tx.commit().await?;
    Ok(outcomes)
}

/// Carries commands out on `state`, and checks that each that is refused leaves it as it was and publishes nothing.
///
/// # Panics
/// Where a refusal changed something.
pub fn refusals_change_nothing<R: Rules>(state: &mut R::State, commands: &[R::Command])
where
    R::State: Clone + std::fmt::Debug + PartialEq,
    R::Command: std::fmt::Debug,
{
    for command in commands {
        let (before, mut out) = (state.clone(), Publications::default());
        if R::handle(state, command, &mut out).is_err() {
            assert_eq!(*state, before, "it was changed by {command:?}, which was refused");
            assert_eq!(out.into_events(), [], "{command:?} was refused");
        }
    }
}

/// An embedded log in a directory of its own.
pub struct TestLog {
    /// The log.
    pub log: EmbeddedLog,
    _dir: TempDir,
}

impl TestLog {
    /// An empty one.
    pub async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let log = EmbeddedLog::open(&dir.path().join("events.db")).await.expect("the log opens");
        Self { log, _dir: dir }
    }

    /// The messages so far as JSON, oldest first.
    pub async fn told(&self) -> Vec<Value> {
        let history = self.log.history().await.expect("the log can be read");
        history
            .iter()
            .filter_map(|told| serde_json::from_slice(told.payload.as_deref()?).ok())
            .collect()
    }
}

/// A log whose replay never ends.
#[derive(Clone)]
pub struct EndlessReplay(pub EmbeddedLog);

#[async_trait]
impl Bus for EndlessReplay {
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>> {
        self.0.publisher().await
    }

    async fn subscribe(&self, group: &str) -> anyhow::Result<Box<dyn Subscription>> {
        self.0.subscribe(group).await
    }

    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>> {
        Ok(Box::new(Endless))
    }
}

struct Endless;

#[async_trait]
impl TopicReplay for Endless {
    async fn next(&mut self, _: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>> {
        std::future::pending().await
    }
}

/// Serves routes on a free port until the test ends, and answers the base URL: a stand-in for a peer.
pub fn peer(routes: axum::Router) -> String {
    let socket = tokio::net::TcpSocket::new_v4().expect("there is IPv4");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let listener = socket.listen(1_024).expect("it can be listened on"); // many may come at once
    let addr = listener.local_addr().expect("it has an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{addr}")
}

/// Writes each test once for each database: `mod sqlite` and `mod postgres`. Where
/// `TEST_DATABASE_URL` is unset the latter say so; the gate sets it.
#[macro_export]
macro_rules! on_each_database {
    ($schema:expr; $($test:ident),* $(,)?) => {
        fn tables() -> $crate::storage::Schema {
            $schema
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                let db = $crate::testing::TestDb::sqlite();
                super::$test(db.open(&super::tables()).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                match $crate::testing::TestDb::postgres().await {
                    Some(db) => super::$test(db.open(&super::tables()).await).await,
                    None => eprintln!("skipped: TEST_DATABASE_URL is unset"),
                }
            })*
        }
    };
}
