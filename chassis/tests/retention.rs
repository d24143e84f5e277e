//! Retention deletes marks faster than a shop at full speed writes them.

mod common;

use chassis::testing::{TestDb, eventually};
use common::{Add, Scripted, Service};
use sqlx::{AssertSqlSafe, Row, query};
use std::time::{Duration, Instant};

/// The number of expired marks. At 500 marks each 100 ms they would take a minute.
const EXPIRED_MARKS: i64 = 300_000;
/// How long deleting them may take on a busy machine: 15,000 a second. The release build on an idle machine does ten times
/// that.
const DELETE_TIMEOUT: Duration = Duration::from_secs(20);

async fn expired_marks_go_faster_than_they_came(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    let mut tx = service.db.begin().await.unwrap();
    for change in [
        format!(
            "with recursive counts(n) as (select 1 union all select n + 1 from counts where n < {EXPIRED_MARKS}) \
             insert into inbox (event_id, minute) select 'expired ' || n, 0 from counts"
        ),
        format!("update running_time set minutes = {}", 15 * 24 * 60),
    ] {
        query(AssertSqlSafe(change)).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    service.running.stop(Duration::from_secs(5)).await;

    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let left = async || {
        // The lowest minute shows it without a scan.
        let oldest = query("select min(minute) from inbox");
        let oldest = service.db.fetch_one(oldest).await.unwrap().get::<Option<i64>, _>(0);
        oldest == Some(0)
    };
    // On Postgres the lease of the stopped process has to expire first.
    let begun = async || {
        let rows = query("select count(*) from inbox where minute = 0");
        let rows: i64 = service.db.fetch_one(rows).await.unwrap().get(0);
        (rows < EXPIRED_MARKS).then_some(())
    };
    eventually("retention to begin", begun).await;
    let (started, mut put, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while left().await {
        let took = started.elapsed();
        assert!(took < DELETE_TIMEOUT, "{EXPIRED_MARKS} rows took {took:?}, while {put} came");
        for _ in 0..50 {
            put += 1;
            bus.put_cart(1, 1);
        }
        let asked = Instant::now();
        service.writer.execute(Add { id: 2, number: 1 }).await.unwrap();
        slowest = slowest.max(asked.elapsed());
    }
    let took = started.elapsed();
    let new = async || (service.count("inbox").await == put).then_some(());
    eventually("the new marks, and no other", new).await;
    println!(
        "{EXPIRED_MARKS} rows in {took:?}, while {put} came; a command took {slowest:?} at most"
    );
    service.running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_marks_go_faster_than_they_came_on_sqlite() {
    expired_marks_go_faster_than_they_came(TestDb::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn expired_marks_go_faster_than_they_came_on_postgres() {
    expired_marks_go_faster_than_they_came(TestDb::postgres().await).await;
}
