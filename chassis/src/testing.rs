//! Fixtures for tests: databases, an event log, a stand-in for a peer, a collector of spans, the log, and a bounded wait for a state.

mod certificate;
mod collector;
mod event_reader;
mod log_lines;
mod page_client;
mod principals;

pub use crate::auth::base64url;
pub use crate::test_issuer::{Algorithm, SigningKey, TestIssuer, signing_key};
pub use certificate::TestCertificate;
pub use collector::{Collector, ExportedSpan};
pub use event_reader::{EventReader, SentEvent};
pub use jsonwebtoken::Header;
pub use log_lines::LogLines;
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
pub use page_client::PageClient;
pub use principals::{answer, client_as, principal, with_principals, without_path};

use crate::base::config::{DatabaseUrl, Host, Listen};
use crate::bus::{
    Bus, Delivery, Destination, EmbeddedLog, Publisher, Subscription, TopicReplay, TopicTail,
};
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
const STATE_TIMEOUT: Duration = Duration::from_secs(20);

/// Calls `ask` until it returns a value, and returns that. Panics with `what` after 20 s.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < STATE_TIMEOUT, "waited {STATE_TIMEOUT:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the value of `variable`, which leads to a server of the tests. A test that needs one is ignored unless asked for, with
/// the name of the variable as the reason: without its server it never counts as passed.
///
/// # Panics
/// Panics if the variable is unset.
pub fn server(variable: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests find their servers by environment")]
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is unset"))
}

/// A new database for one test.
pub struct TestDb {
    /// The URL of the database.
    pub url: DatabaseUrl,
    _dir: TempDir,
}

impl TestDb {
    /// Returns a database in a SQLite file.
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let url = format!("sqlite:{}", dir.path().join("test.db").display());
        Self { url: url.parse().expect("it is a SQLite URL"), _dir: dir }
    }

    /// Returns a new database on the server of `TEST_DATABASE_URL`.
    ///
    /// # Panics
    /// Panics if there is no such server.
    pub async fn postgres() -> Self {
        let server = server("TEST_DATABASE_URL");
        let name = format!("test_{}", Uuid::new_v4().simple());
        sqlx::any::install_default_drivers();
        let mut connection =
            sqlx::AnyConnection::connect(&server).await.expect("the test server answers");
        let create = AssertSqlSafe(format!("create database {name}"));
        connection.execute(create).await.expect("a database can be made");
        let (server, _) = server.rsplit_once('/').expect("the URL ends with a database");
        let url = format!("{server}/{name}").parse().expect("it is a Postgres URL");
        Self { url, _dir: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// Opens the database with the tables of `schema`.
    pub async fn open(&self, schema: &Schema) -> Db {
        let db = Db::open(&self.url, schema).await.expect("the database opens");
        db.migrate(schema).await;
        db
    }

    /// Opens the database as two replicas do. A SQLite file has one process, so both share its two connections for writing.
    pub async fn open_twice(&self, schema: &Schema) -> (Db, Db) {
        let one = self.open(schema).await;
        let other = match one.dialect() {
            Dialect::Sqlite => one.clone(),
            Dialect::Postgres => self.open(schema).await,
        };
        (one, other)
    }

    /// Returns the settings of a service with this database, on free ports.
    pub fn host(&self) -> Host {
        Host::new(Listen::free(), self.url.clone())
    }
}

/// Carries out commands in one transaction, as the writer does. Returns the outcome of each.
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
            assert_eq!(out, Publications::default(), "{command:?} was refused");
        }
    }
}

/// An embedded log in a new directory.
pub struct TestLog {
    /// The log.
    pub log: EmbeddedLog,
    _dir: TempDir,
}

impl TestLog {
    /// Opens an empty log.
    pub async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let log = EmbeddedLog::open(&dir.path().join("events.db")).await.expect("the log opens");
        Self { log, _dir: dir }
    }

    /// Returns the JSON of all messages so far, oldest first.
    pub async fn told(&self) -> Vec<Value> {
        let history = self.log.history().await.expect("the log can be read");
        history
            .iter()
            .filter_map(|told| serde_json::from_slice(told.payload.as_deref()?).ok())
            .collect()
    }
}

/// An embedded log whose replays a test replaces.
#[derive(Clone)]
pub struct ReplacedReplays {
    pub log: EmbeddedLog,
    /// Returns the replay in place of the log's own.
    pub replace: fn(Box<dyn TopicReplay>) -> Box<dyn TopicReplay>,
}

#[async_trait]
impl Bus for ReplacedReplays {
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>> {
        self.log.publisher().await
    }

    async fn subscribe(&self, group: &str) -> anyhow::Result<Box<dyn Subscription>> {
        self.log.subscribe(group).await
    }

    fn destination(&self) -> Destination {
        self.log.destination()
    }

    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>> {
        Ok((self.replace)(self.log.replay().await?))
    }

    async fn tail(&self, recent: i64) -> anyhow::Result<Box<dyn TopicTail>> {
        self.log.tail(recent).await
    }
}

/// A replay that never returns an event and never ends.
pub struct Endless;

#[async_trait]
impl TopicReplay for Endless {
    async fn next(&mut self, _: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>> {
        std::future::pending().await
    }

    fn progress(&self) -> (u64, u64) {
        (0, 1)
    }
}

/// Serves routes on a free port until the test ends, as a stand-in for a peer. Returns the base URL.
pub fn peer(routes: axum::Router) -> String {
    let socket = tokio::net::TcpSocket::new_v4().expect("there is IPv4");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let listener = socket.listen(1_024).expect("it can be listened on"); // many may come at once
    let addr = listener.local_addr().expect("it has an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{addr}")
}

/// Defines each test for each database, in `mod sqlite` and `mod postgres`. A test takes a [`TestDb`]; after a schema and `;` it
/// takes the open [`Db`] with its tables, and after `; replicas:` two of them, as two replicas have. Tests on Postgres are ignored
/// unless asked for, since they need `TEST_DATABASE_URL`.
#[macro_export]
macro_rules! on_each_database {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::testing::TestDb::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            #[ignore = "needs TEST_DATABASE_URL"]
            async fn $test() {
                super::$test($crate::testing::TestDb::postgres().await).await;
            })*
        }
    };
    ($schema:expr; $($test:ident),* $(,)? $(; replicas: $($pair:ident),* $(,)?)?) => {
        fn tables() -> $crate::storage::Schema {
            $schema
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                let db = $crate::testing::TestDb::sqlite();
                super::$test(db.open(&super::tables()).await).await;
            })*
            $($(#[tokio::test]
            async fn $pair() {
                let db = $crate::testing::TestDb::sqlite();
                let (one, other) = db.open_twice(&super::tables()).await;
                super::$pair(one, other).await;
            })*)?
        }
        mod postgres {
            $(#[tokio::test]
            #[ignore = "needs TEST_DATABASE_URL"]
            async fn $test() {
                let db = $crate::testing::TestDb::postgres().await;
                super::$test(db.open(&super::tables()).await).await;
            })*
            $($(#[tokio::test]
            #[ignore = "needs TEST_DATABASE_URL"]
            async fn $pair() {
                let db = $crate::testing::TestDb::postgres().await;
                let (one, other) = db.open_twice(&super::tables()).await;
                super::$pair(one, other).await;
            })*)?
        }
    };
}
