use super::*;
use crate::testing::TestDb;

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_replica_that_cannot_migrate_keeps_no_other_from_it() {
    let test = TestDb::postgres().await;
    let newer = Schema::new(&[(1001, "newer", "create table newer (id bigint)")]);
    test.open(&newer).await;
    let older = Schema::new(&[]);
    let replica = Db::open(&test.url, &older).await.unwrap();
    assert!(
        replica.try_migrate(&older).await.is_err(),
        "the older version accepted the newer tables"
    );
    let opened = timeout(Duration::from_secs(5), test.open(&newer)).await;
    opened.expect("the lock is free");
    drop(replica);
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn long_texts_are_compressed_by_lz4_where_postgres_has_it() {
    let db = TestDb::postgres().await.open(&Schema::new(&[])).await;
    let mut tx = db.begin().await.unwrap();
    let insert = "insert into outbox (size, created_at, events) values (1, 0, repeat($1, 1000))";
    tx.later(Statement::new(insert).text("an event"));
    tx.commit().await.unwrap();
    let methods = "select pg_column_compression(events), case when 'lz4' = any(enumvals) then 'lz4' else 'pglz' end \
                   from outbox, pg_settings s where s.name = 'default_toast_compression'";
    let methods = db.fetch_one(sqlx::query(methods)).await.unwrap();
    assert_eq!(methods.get::<&str, _>(0), methods.get::<&str, _>(1));
}

#[tokio::test]
async fn a_read_without_a_free_connection_is_refused_after_its_patience_and_no_outage_is_logged() {
    let test = TestDb::sqlite();
    let db = test.open(&Schema::new(&[])).await;
    let mut readers = Vec::new();
    for _ in 0..READER_CONNECTIONS {
        readers.push(db.0.readers.take().await.unwrap());
    }
    let read = async || db.fetch_all(sqlx::query("select 1")).await;
    for patience in [Duration::ZERO, Duration::from_millis(300), crate::base::limits::PATIENCE] {
        let began = Instant::now();
        let refused = patience::with(began + patience, read()).await;
        assert!(matches!(refused, Err(sqlx::Error::PoolTimedOut)), "{:?}", refused.err());
        let waited = began.elapsed();
        assert!(waited >= patience, "{waited:?} instead of {patience:?}");
        assert!(
            waited < patience + Duration::from_millis(300),
            "{waited:?} instead of {patience:?}"
        );
    }
    assert!(!db.0.outages.reads.lasts(), "an outage of the database is logged");
    for reader in readers {
        db.0.readers.keep(reader);
    }
    patience::with(Instant::now(), read()).await.unwrap();
}

#[tokio::test]
async fn a_database_that_refuses_connections_is_tried_a_few_times_a_second() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://a@{}/a?sslmode=disable", listener.local_addr().unwrap());
    let db = Db::open(&url.parse().unwrap(), &Schema::new(&[])).await.unwrap();
    assert!(db.fetch_all(sqlx::query("select 1")).await.is_err());
    let mut tries = 0;
    let until = Instant::now() + Duration::from_millis(2_500);
    while let Ok(accepted) = timeout_at(until, listener.accept()).await {
        drop(accepted);
        tries += 1;
    }
    // After 0, 50, 150 and 350 ms, and then every 250 ms; each may take a moment itself.
    assert!((8..=12).contains(&tries), "{tries} tries");
}

/// What comes next on it would belong to that transaction.
#[tokio::test]
async fn a_connection_with_an_open_transaction_is_not_kept() {
    let test = TestDb::sqlite();
    let db = test.open(&Schema::bare(&[(1001, "one", "create table one (id bigint)")])).await;
    let mut connection = db.connection().await.unwrap();
    drop(db.begin_on(&mut connection).await.unwrap());
    db.keep(connection);
    let mut connection = db.connection().await.unwrap();
    let tx = db.begin_on(&mut connection).await.expect("no transaction is open on it");
    tx.commit().await.unwrap();
}
