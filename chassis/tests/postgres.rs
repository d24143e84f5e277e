//! Faults that only Postgres has. Its host loses power or its network is cut: no packet reports that, and TCP notices it after
//! minutes, if at all. Or it has the tables of another version of the service.

mod common;

use chassis::base::unavailable::Unavailable;
use chassis::testing::{TestDb, eventually};
use chassis::writer::CommandError;
use common::{Add, Negative, Scripted, Service, schema};
use sqlx::Row;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The number in an event by which the network recognises a transaction.
const MARKED_NUMBER: i64 = 987_654_321;

/// The step of the transaction with [`MARKED_NUMBER`] at which its server vanishes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum VanishAt {
    Statement,
    /// The server does not receive the commit.
    Commit,
    /// The server commits, and its response is lost.
    Committed,
}

/// The network between the service and its server.
#[derive(Clone, Default)]
struct Network {
    /// Once cancelled, its connections stay open and carry nothing.
    now: Arc<Mutex<CancellationToken>>,
    vanishes: Arc<Mutex<Option<VanishAt>>>,
    refuses: Arc<AtomicBool>,
    /// New connections are accepted and never answered, as where packets are dropped without a word.
    swallows: Arc<AtomicBool>,
}

impl Network {
    /// Changes the URL of `db` so that it leads through a new network.
    async fn in_front_of(db: &mut TestDb) -> Self {
        let url = db.url.as_str().to_owned();
        let (_, after) = url.split_once('@').expect("the URL names a user");
        let (server, name) = after.split_once('/').expect("the URL names a database");
        assert!(server.contains(':'), "the URL names a port");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = format!("@{}/{name}", listener.local_addr().unwrap());
        db.url = url.replace(&format!("@{after}"), &way).parse().unwrap();
        let network = Self::default();
        tokio::spawn(network.clone().lead(listener, server.to_owned()));
        network
    }

    async fn lead(self, listener: TcpListener, server: String) {
        let mut swallowed = Vec::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            if self.swallows.load(Ordering::Relaxed) {
                swallowed.push(client);
                continue;
            }
            if self.refuses.load(Ordering::Relaxed) {
                continue; // dropped, as by a server that went away
            }
            let server = TcpStream::connect(&server).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let now = self.now.lock().unwrap().clone();
            tokio::spawn(self.clone().carry(from_client, to_server, now.clone()));
            tokio::spawn(self.clone().carry(from_server, to_client, now));
        }
    }

    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, now: CancellationToken) {
        let (mut buffer, mut known) = (vec![0; 65_536], false);
        while let Some(Ok(length @ 1..)) = now.run_until_cancelled(from.read(&mut buffer)).await {
            let sent = &buffer[..length];
            let has = |text: &str| sent.windows(text.len()).any(|part| part == text.as_bytes());
            known |= has(&MARKED_NUMBER.to_string());
            let at = *self.vanishes.lock().unwrap();
            if known && (at == Some(VanishAt::Statement) || at.is_some() && has("commit")) {
                self.vanish();
            }
            if (!now.is_cancelled() || at == Some(VanishAt::Committed))
                && to.write_all(sent).await.is_err()
            {
                return;
            }
        }
        if now.is_cancelled() && !self.swallows.load(Ordering::Relaxed) {
            std::future::pending::<()>().await; // keeps both ends open
        }
    }

    /// Cuts all connections, and refuses new ones.
    fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
        self.vanish();
    }

    /// Closes all connections, and swallows new ones.
    fn swallow(&self) {
        self.swallows.store(true, Ordering::Relaxed);
        self.vanish();
    }

    /// Cuts all connections. New ones reach the server.
    fn vanish(&self) {
        *self.vanishes.lock().unwrap() = None;
        std::mem::take(&mut *self.now.lock().unwrap()).cancel();
    }
}

/// Returns the service behind a network.
async fn service() -> (Service, Network) {
    let mut db = TestDb::postgres().await;
    let network = Network::in_front_of(&mut db).await;
    (Service::start(&db, &Scripted::default()).await, network)
}

async fn execute_while_it_vanishes(at: VanishAt) -> (Result<i64, CommandError<Negative>>, Service) {
    let (service, network) = service().await;
    service.writer.execute(Add { id: 1, number: 1 }).await.unwrap();
    *network.vanishes.lock().unwrap() = Some(at);
    let asked = service.writer.execute(Add { id: 1, number: MARKED_NUMBER }).await;
    assert!(network.vanishes.lock().unwrap().is_none(), "it did vanish");
    (asked, service)
}

/// Checks that the service works again, and has published all its events.
async fn assert_works_again(service: &Service) {
    let began = Instant::now();
    eventually("an answer", async || service.writer.execute(Add { id: 2, number: 1 }).await.ok())
        .await;
    service.outbox_is_empty().await;
    assert!(began.elapsed() < Duration::from_secs(10), "not only once TCP gave up");
}

async fn nothing_was_done(at: VanishAt) {
    let (asked, service) = execute_while_it_vanishes(at).await;
    assert!(matches!(asked, Err(CommandError::Unavailable(Unavailable::Database))));
    assert_eq!(service.total(1).await, 1);
    assert_works_again(&service).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_batch_whose_server_vanishes_is_given_up() {
    nothing_was_done(VanishAt::Statement).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_commit_that_was_lost_is_reported_as_failed() {
    nothing_was_done(VanishAt::Commit).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_commit_whose_response_was_lost_is_reported_as_done() {
    let (asked, service) = execute_while_it_vanishes(VanishAt::Committed).await;
    assert_eq!(asked.unwrap(), 1 + MARKED_NUMBER);
    assert_eq!(service.total(1).await, 1 + MARKED_NUMBER);
    assert_works_again(&service).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn reads_whose_server_vanishes_are_refused_and_the_next_are_not() {
    let (service, network) = service().await;
    let reads = async || {
        let read = || service.db.fetch_all(sqlx::query("select pg_sleep(0.1)::text"));
        let all = std::array::from_fn::<_, 8, _>(|_| read()); // as many as there are connections
        futures_util::future::join_all(all).await.iter().filter(|read| read.is_ok()).count()
    };
    eventually("connections", async || (reads().await == 8).then_some(())).await;
    network.vanish();
    let began = Instant::now();
    assert!(reads().await < 8, "some were lost");
    eventually("all to be replaced", async || (reads().await == 8).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(10), "not only once TCP gave up");
}

/// Waits until requests are refused at once, and checks that they stay so. `refused` makes some, and returns whether all were
/// refused.
async fn are_refused_at_once(refused: impl AsyncFn() -> bool) {
    let refused_in = async || {
        let began = Instant::now();
        assert!(refused().await, "it is away");
        began.elapsed()
    };
    let at_once = Duration::from_millis(300);
    let in_a_row = Cell::new(0); // the connections that were lost fail at once too
    eventually("the outage to be noticed", async || {
        in_a_row.set(if refused_in().await < at_once { in_a_row.get() + 1 } else { 0 });
        (in_a_row.get() == 3).then_some(())
    })
    .await;
    for _ in 0..20 {
        let waited = refused_in().await;
        assert!(waited < at_once, "they waited for {waited:?}");
    }
}

/// All replicas share their database. If none were ready, no replica would be there to respond with 503.
#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn requests_are_refused_at_once_while_no_connection_can_be_made() {
    let (service, network) = service().await;
    let read = async || service.db.fetch_one(sqlx::query("select 1")).await;
    let write = async || service.writer.execute(Add { id: 1, number: 1 }).await;
    write().await.unwrap();
    read().await.unwrap();
    network.swallow();
    // The first requests still meet the connections that were lost, and then wait for the first attempt to connect.
    are_refused_at_once(async || read().await.is_err() && write().await.is_err()).await;
    network.swallows.store(false, Ordering::Relaxed);
    let began = Instant::now();
    eventually("a success", async || (read().await.is_ok() && write().await.is_ok()).then_some(()))
        .await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// The writer asks for the outcome of the commit meanwhile, and can write nothing else.
#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn requests_are_refused_at_once_while_a_lost_commit_is_asked_for() {
    let (service, network) = service().await;
    let write = async |number| service.writer.execute(Add { id: 1, number }).await;
    write(1).await.unwrap();
    network.swallows.store(true, Ordering::Relaxed);
    *network.vanishes.lock().unwrap() = Some(VanishAt::Commit);
    let lost = async {
        let outcome = write(MARKED_NUMBER).await;
        (outcome, network.swallows.load(Ordering::Relaxed))
    };
    let others = async {
        eventually("the commit", async || network.vanishes.lock().unwrap().is_none().then_some(()))
            .await;
        are_refused_at_once(async || write(1).await.is_err()).await;
        network.swallows.store(false, Ordering::Relaxed);
    };
    let ((lost, away), ()) = tokio::join!(lost, others);
    assert!(!away, "it was told before anybody could know");
    assert!(matches!(lost, Err(CommandError::Unavailable(Unavailable::Database))));
    assert_works_again(&service).await;
    assert_eq!(service.total(1).await, 1);
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_service_whose_database_went_away_stays_ready_and_is_not_healthy() {
    let mut db = TestDb::postgres().await;
    let network = Network::in_front_of(&mut db).await;
    let service = Service::start(&db, &Scripted::default()).await;
    let client = chassis::http::client::new().unwrap();
    let status = async |path: &str| {
        let url = format!("{}/actuator/health{path}", service.running.url());
        client.get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status("").await, status("/readiness").await), (200, 200));
    network.refuse();
    eventually("the outage to show", async || (status("").await == 503).then_some(())).await;
    assert_eq!((status("/readiness").await, status("/liveness").await), (200, 200));
}

/// An old replica finds the tables so after a migration, until it is replaced.
#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn an_event_whose_table_is_gone_waits_for_it() {
    let db = TestDb::postgres().await;
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let elsewhere = db.open(&schema()).await;
    let rename = async |sql| {
        let mut tx = elsewhere.begin().await.unwrap();
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    let failures = async || {
        let of_this =
            "select xact_rollback from pg_stat_database where datname = current_database()";
        elsewhere.fetch_one(sqlx::query(of_this)).await.unwrap().get::<i64, _>(0)
    };
    rename("alter table tallies rename to others").await;
    let before = failures().await;
    let (place, _) = bus.put_cart(1, 5);
    // An event that fails itself takes two tries in its batch and five alone.
    eventually("more tries", async || (failures().await > before + 7).then_some(())).await;
    assert_eq!((service.count("parked").await, bus.is_done(place)), (0, false));
    rename("alter table others rename to tallies").await;
    eventually("the event to be done", async || bus.is_done(place).then_some(())).await;
    assert_eq!(service.total(1).await, 5);
}
