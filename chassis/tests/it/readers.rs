//! A read ends at its limit and when its caller is dropped, on the database too, so that its connection becomes free.

use axum::Router;
use axum::http::Method;
use axum::routing::get;
use chassis::Chassis;
use chassis::base::limits::{PATIENCE, READ_TIMEOUT, UPSTREAM_TIMEOUT};
use chassis::base::patience;
use chassis::base::problem::Problem;
use chassis::http::{Access, Surface};
use chassis::storage::{Db, Dialect, Schema};
use chassis::testing::{TestDb, TestLog, eventually};
use futures_util::future::join_all;
use sqlx::{Row, query};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The connections for reading of a service.
const READERS: usize = 8;

/// Runs a read that takes at least a minute.
async fn slow_read(db: &Db) -> sqlx::Result<()> {
    let sql = match db.dialect() {
        Dialect::Sqlite => {
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000000000) \
             select count(*) from n"
        }
        Dialect::Postgres => "select pg_sleep(60)::text",
    };
    db.fetch_all(query(sql)).await.map(|_| ())
}

/// Waits until no connection is in use, and checks that no statement runs on Postgres.
async fn all_are_free(db: &Db, within: Duration) {
    let began = Instant::now();
    eventually("the readers", async || {
        let (all, idle) = db.readers_in_pool();
        (usize::try_from(all).ok() == Some(idle)).then_some(())
    })
    .await;
    if db.dialect() == Dialect::Postgres {
        let running = "select count(*) from pg_stat_activity where datname = current_database() \
                       and state = 'active' and query like 'select pg_sleep%'";
        let row = db.fetch_one(query(running)).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), 0, "statements outlive their readers");
    }
    assert!(began.elapsed() < within, "they are free after {:?}", began.elapsed());
}

async fn a_read_is_ended_within_its_limit(db: Db) {
    let began = Instant::now();
    let reads = join_all((0..READERS * 2).map(|_| slow_read(&db))).await;
    assert!(reads.iter().all(Result::is_err));
    let refused = reads.iter().filter(|read| matches!(read, Err(sqlx::Error::PoolTimedOut)));
    assert_eq!(refused.count(), READERS, "reads without a connection: {reads:?}");
    assert!(began.elapsed() < READ_TIMEOUT * 2, "it took {:?}", began.elapsed());
    all_are_free(&db, Duration::from_secs(4)).await;
    let reads = join_all((0..READERS).map(|_| db.fetch_all(query("select 1")))).await;
    assert!(reads.iter().all(Result::is_ok));
}

/// A request with many reads ends before the gateway gives it up, so that the client gets 503 and not 504.
async fn the_reads_of_a_request_end_with_it(db: Db) {
    let began = Instant::now();
    let reads = async {
        for _ in 0..3 {
            assert!(slow_read(&db).await.is_err());
        }
    };
    patience::with((began + PATIENCE).into(), reads).await;
    let took = began.elapsed();
    assert!(took >= PATIENCE + READ_TIMEOUT, "a read has its time: {took:?}");
    assert!(took < UPSTREAM_TIMEOUT, "the gateway has given up: {took:?}");
}

/// A caller is gone when its client hangs up or its request times out.
async fn a_read_is_ended_when_its_caller_is_gone(db: Db) {
    for _ in 0..3 {
        let reads = join_all((0..READERS).map(|_| slow_read(&db)));
        assert!(tokio::time::timeout(Duration::from_millis(300), reads).await.is_err());
        let (all, _) = db.readers_in_pool();
        assert!(all as usize <= READERS, "{all} connections at once");
    }
    all_are_free(&db, Duration::from_secs(6)).await;
}

/// A request without a connection is refused like every request that waited for too long, and counted.
#[tokio::test]
async fn a_request_that_finds_no_reader_free_is_shed() {
    let (test, log) = (TestDb::sqlite(), TestLog::open().await);
    let bus = Arc::new(log.log.clone());
    let chassis = Chassis::open("readers", &test.host(), Schema::new(&[]), bus).await.unwrap();
    let (slow, in_use, quick) = (chassis.db().clone(), chassis.db().clone(), chassis.db().clone());
    let quick = async move || {
        quick.fetch_all(query("select 1")).await?;
        Ok::<_, Problem>(())
    };
    let surface =
        Surface { paths: vec!["/"], bodies: &[], access: &[(Method::GET, "/", Access::Public)] };
    let running = chassis.serve(surface, Router::new().route("/", get(quick))).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async || client.get(running.url()).send().await.unwrap();
    let asked = async {
        eventually("all connections to be in use", async || {
            (in_use.readers_in_pool() == (8, 0)).then_some(())
        })
        .await;
        let began = Instant::now();
        (ask().await, began.elapsed())
    };
    let (_, (refused, waited)) =
        tokio::join!(join_all((0..READERS).map(|_| slow_read(&slow))), asked);
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert!((PATIENCE..PATIENCE * 2).contains(&waited), "refused after {waited:?}");
    let metrics = format!("{}/metrics", running.management_url().unwrap());
    let metrics = client.get(metrics).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("http_requests_shed_total{at=\"readers\"} 1\n"), "{metrics}");
    assert_eq!(ask().await.status().as_u16(), 200, "and then there are readers again");
}

chassis::on_each_database!(
    Schema::new(&[]);
    a_read_is_ended_within_its_limit,
    the_reads_of_a_request_end_with_it,
    a_read_is_ended_when_its_caller_is_gone,
);
