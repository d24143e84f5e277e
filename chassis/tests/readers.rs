//! A statement does not outlive the limit of its reader, nor its caller, so that readers are given back.

use chassis::db::{Db, Dialect, Schema};
use chassis::testing::eventually;
use futures_util::future::join_all;
use sqlx::{Row, query};
use std::time::{Duration, Instant};

/// As many as there are readers.
const READERS: usize = 8;

/// A read that takes a minute at least.
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

/// No reader is in use, and on Postgres no statement runs.
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
    assert!(began.elapsed() < Duration::from_secs(5), "the limit is 2.5 s: {:?}", began.elapsed());
    all_are_free(&db, Duration::from_secs(4)).await;
    let reads = join_all((0..READERS).map(|_| db.fetch_all(query("select 1")))).await;
    assert!(reads.iter().all(Result::is_ok));
}

/// A client that hangs up is one, and so is a request that takes too long.
async fn a_read_is_ended_when_its_caller_is_gone(db: Db) {
    for _ in 0..3 {
        let reads = join_all((0..READERS).map(|_| slow_read(&db)));
        assert!(tokio::time::timeout(Duration::from_millis(300), reads).await.is_err());
        let (all, _) = db.readers_in_pool();
        assert!(all as usize <= READERS, "{all} connections at once");
    }
    all_are_free(&db, Duration::from_secs(6)).await;
}

chassis::on_each_database!(
    Schema::new(&[]);
    a_read_is_ended_within_its_limit,
    a_read_is_ended_when_its_caller_is_gone,
);
