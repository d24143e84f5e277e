//! Nothing depends on the wall clock: here it jumps by weeks at each reading.

mod common;

use chassis::base::clock::jumps;
use chassis::bus::{Bus, KafkaBus};
use chassis::testing::{TestDb, eventually, server};
use common::{Add, Scripted, Service};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row, query};
use std::time::{Duration, Instant};

/// Two months, in milliseconds.
const JUMPS: i64 = 60 * DAY * 60_000;
/// Minutes.
const DAY: i64 = 24 * 60;

chassis::on_each_database!(
    rows_expire_by_running_time_and_not_by_the_wall_clock,
    rows_are_stamped_with_what_other_replicas_have_counted,
    rows_of_writers_that_are_gone_expire,
);

/// Stops the service, changes its database, and starts it again. Its retention runs at once.
async fn change_and_restart(service: Service, db: &TestDb, changes: &[String]) -> Service {
    service.running.stop(Duration::from_secs(5)).await;
    let mut connection = AnyConnection::connect(db.url.as_str()).await.unwrap();
    for change in changes {
        query(AssertSqlSafe(change.clone())).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    Service::start(db, &Scripted::default()).await
}

fn ran_for(minutes: i64) -> String {
    format!("update running_time set minutes = {minutes}")
}

fn mark(id: &str, minute: i64) -> String {
    format!("insert into inbox (event_id, minute) values ('{id}', {minute})")
}

async fn marks(service: &Service) -> Vec<String> {
    let marks = query("select event_id from inbox order by event_id");
    service.db.fetch_all(marks).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn rows_expire_by_running_time_and_not_by_the_wall_clock(db: TestDb) {
    jumps::within(JUMPS);
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let places: Vec<_> = (1..=50).map(|id| bus.put_cart(id, 1).0).collect();
    eventually("the events", async || bus.is_done(places[49]).then_some(())).await;
    assert_eq!(marks(&service).await.len(), 50);

    let service = change_and_restart(service, &db, &[mark("expired", -15 * DAY)]).await;
    let all = async || (!marks(&service).await.contains(&"expired".to_owned())).then_some(());
    eventually("the expired mark to be deleted", all).await;
    assert_eq!(marks(&service).await.len(), 50, "young marks were deleted");

    // Now minute 0 is 14 days and a minute ago.
    let changes = [ran_for(14 * DAY + 1), mark("young", 1)];
    let service = change_and_restart(service, &db, &changes).await;
    let young = async || (marks(&service).await == ["young"]).then_some(());
    eventually("the marks of minute 0 to expire", young).await;
    service.running.stop(Duration::from_secs(5)).await;
}

/// The running time of other replicas counts, as on a machine that was suspended for two days: its monotonic clock stood still.
async fn rows_are_stamped_with_what_other_replicas_have_counted(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let (before, _) = bus.put_cart(1, 1);
    eventually("the first event", async || bus.is_done(before).then_some(())).await;
    let mut connection = AnyConnection::connect(db.url.as_str()).await.unwrap();
    query(AssertSqlSafe(ran_for(2 * DAY))).execute(&mut connection).await.unwrap();
    let (after, _) = bus.put_cart(2, 1);
    eventually("the second event", async || bus.is_done(after).then_some(())).await;
    for stamped in ["inbox", "batches"] {
        let newest = AssertSqlSafe(format!("select max(minute) from {stamped}"));
        let minute: i64 = query(newest).fetch_one(&mut connection).await.unwrap().get(0);
        assert_eq!(minute, 2 * DAY, "{stamped}");
    }
    connection.close().await.unwrap();
    service.running.stop(Duration::from_secs(5)).await;
}

async fn rows_of_writers_that_are_gone_expire(db: TestDb) {
    jumps::within(JUMPS);
    let service = Service::start(&db, &Scripted::default()).await;
    service.writer.execute(Add { id: 1, number: 1 }).await.unwrap();
    let service = change_and_restart(service, &db, &[]).await;
    service.writer.execute(Add { id: 1, number: 1 }).await.unwrap();
    assert_eq!(service.count("batches").await, 2, "one for each writer");
    let service = change_and_restart(service, &db, &[ran_for(2 * DAY)]).await;
    service.writer.execute(Add { id: 1, number: 1 }).await.unwrap();
    let one = async || (service.count("batches").await == 1).then_some(());
    eventually("the rows of writers before to expire", one).await;
    assert_eq!(service.writer.execute(Add { id: 1, number: 1 }).await.unwrap(), 4);
    service.running.stop(Duration::from_secs(5)).await;
}

/// Returns the epoch of the relay's lease: how often it changed hands.
async fn epoch(service: &Service) -> i64 {
    let epoch = query("select epoch from leases where name = 'relay'");
    service.db.fetch_one(epoch).await.unwrap().get(0)
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_lease_stays_with_its_holder_and_passes_on_when_that_is_gone() {
    jumps::within(JUMPS);
    let db = TestDb::postgres().await;
    let bus = Scripted::default();
    let one = Service::start(&db, &bus).await;
    one.writer.execute(Add { id: 1, number: 1 }).await.unwrap();
    one.outbox_is_empty().await;
    let other = Service::start(&db, &bus).await;
    // Both have work for longer than a lease lasts without being renewed.
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < Duration::from_secs(5) {
        rounds += 1;
        for service in [&one, &other] {
            service.writer.execute(Add { id: 1, number: 1 }).await.unwrap();
        }
        one.outbox_is_empty().await;
    }
    // A replica that stood still for seconds may lose its lease; one whose clock jumps must not.
    let epoch = epoch(&one).await;
    assert!(epoch <= 3, "the lease changed hands {epoch} times in {rounds} rounds");

    one.running.stop(Duration::from_secs(5)).await;
    other.writer.execute(Add { id: 1, number: 7 }).await.unwrap();
    other.outbox_is_empty().await;
    other.running.stop(Duration::from_secs(5)).await;
}

/// By default a broker refuses messages whose timestamp is more than an hour ahead of its own clock.
#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn a_broker_takes_what_comes_from_a_clock_that_is_ahead() {
    let brokers = server("TEST_KAFKA_BROKERS");
    let topic = format!("test-{}", uuid::Uuid::new_v4());
    let bus = KafkaBus::new(&brokers, &topic);
    drop(bus.publisher().await.unwrap()); // makes the topic
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    for ahead in [-JUMPS, JUMPS] {
        let at = chrono::Utc::now().timestamp_millis() + ahead;
        let record = FutureRecord::to(&topic).key("1").payload("{}").timestamp(at);
        let sent = producer.send(record, Duration::from_secs(20)).await;
        assert!(sent.is_ok(), "{ahead} ms: {sent:?}");
    }
}
