//! The writer as a service uses it, on each database.

use crate::common::{Add, Negative, Scripted, Service};
use chassis::base::limits::PATIENCE;
use chassis::base::unavailable::Unavailable;
use chassis::storage::{Db, Dialect, Tx};
use chassis::testing::{TestDb, eventually};
use chassis::writer::CommandError;
use sqlx::Row;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

chassis::on_each_database!(
    commands_are_answered_in_order_and_are_durable,
    a_refusal_or_a_failure_changes_nothing_and_stops_nothing,
    a_command_that_the_writer_does_not_take_is_refused_after_its_patience_and_not_carried_out,
    a_short_pause_of_the_database_refuses_no_command,
    a_command_whose_caller_is_gone_is_not_carried_out,
    what_comes_before_a_batch_has_its_turn_is_in_it,
);

/// Locks the row of the tally on Postgres, and the file on SQLite, until the returned transaction ends.
async fn lock(service: &Service, elsewhere: &Db) -> Tx<'static> {
    service.writer.execute(Add { id: 1, number: 0 }).await.unwrap();
    service.outbox_is_empty().await;
    let mut tx = elsewhere.begin().await.unwrap();
    if service.db.dialect() == Dialect::Postgres {
        let no_timeout = "set local idle_in_transaction_session_timeout = 0";
        sqlx::query(no_timeout).execute(&mut *tx).await.unwrap();
    }
    let lock = "update tallies set total = total where id = 1";
    sqlx::query(lock).execute(&mut *tx).await.unwrap();
    tx
}

/// Waits until a transaction on this database of Postgres waits for a lock.
async fn until_a_lock_is_waited_for(db: &Db) {
    eventually("the writer to wait for the lock", async || {
        let waiting = "select count(*) from pg_locks where not granted and pid in \
                       (select pid from pg_stat_activity where datname = current_database())";
        let count: i64 = db.fetch_one(sqlx::query(waiting)).await.ok()?.get(0);
        (count > 0).then_some(())
    })
    .await;
}

fn execute_many(
    service: &Service,
    count: usize,
) -> JoinSet<(Result<i64, CommandError<Negative>>, Duration)> {
    let mut asked = JoinSet::new();
    for _ in 0..count {
        let writer = service.writer.clone();
        asked.spawn(async move {
            let began = Instant::now();
            (writer.execute(Add { id: 1, number: 1 }).await, began.elapsed())
        });
    }
    asked
}

async fn commands_are_answered_in_order_and_are_durable(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    let adds = (1..=1_200).map(|number| (Add { id: number % 3, number: 1 }, None));
    let answers = service.writer.execute_all(adds).await;
    let answers: Vec<i64> = answers.into_iter().map(Result::unwrap).collect();
    for (place, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, i64::try_from(place / 3 + 1).unwrap());
    }
    assert_eq!(service.total(0).await, 400);
    service.running.stop(Duration::from_secs(5)).await;

    let service = Service::start(&db, &Scripted::default()).await;
    assert_eq!(service.writer.execute(Add { id: 0, number: 1 }).await.unwrap(), 401);
}

async fn a_refusal_or_a_failure_changes_nothing_and_stops_nothing(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    service.writer.execute(Add { id: 1, number: 5 }).await.unwrap();
    let refused = service.writer.execute(Add { id: 1, number: -1 }).await;
    assert!(matches!(refused, Err(CommandError::Refused(_))));
    for fails in [13, 14] {
        let failed = service.writer.execute(Add { id: 1, number: fails }).await;
        assert!(matches!(failed, Err(CommandError::Unavailable(Unavailable::Failed))));
    }
    assert_eq!(service.writer.execute(Add { id: 1, number: 1 }).await.unwrap(), 6);
}

async fn a_command_that_the_writer_does_not_take_is_refused_after_its_patience_and_not_carried_out(
    db: TestDb,
) {
    let service = Service::start(&db, &Scripted::default()).await;
    let elsewhere = service.db.clone(); // a SQLite file is open once
    let locked = lock(&service, &elsewhere).await;
    let mut asked = execute_many(&service, 600); // more than fit into one batch
    let (first, waited) = asked.join_next().await.unwrap().unwrap();
    let overloaded = Unavailable::Overloaded { at: "writer" };
    assert!(matches!(first, Err(CommandError::Unavailable(why)) if why == overloaded));
    assert!(waited >= PATIENCE, "it was refused after {waited:?}");
    assert!(waited < PATIENCE * 2, "it was refused after {waited:?} only");
    locked.commit().await.unwrap();
    let done = asked.join_all().await.iter().filter(|(outcome, _)| outcome.is_ok()).count();
    assert_eq!(
        service.total(1).await,
        i64::try_from(done).unwrap(),
        "the outcomes must match the total"
    );
    assert!(service.writer.execute(Add { id: 1, number: 1 }).await.is_ok(), "the writer goes on");
}

async fn a_short_pause_of_the_database_refuses_no_command(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    let elsewhere = service.db.clone(); // a SQLite file is open once
    let locked = lock(&service, &elsewhere).await;
    let asked = execute_many(&service, 2_500);
    let pause = async {
        sleep(Duration::from_millis(200)).await;
        locked.commit().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(asked.join_all(), pause);
    // A slow machine may refuse commands whose patience is over, but no others.
    for (outcome, waited) in &outcomes {
        assert!(outcome.is_ok() || *waited >= PATIENCE, "{outcome:?} after {waited:?}");
    }
    let done = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count();
    assert_eq!(service.total(1).await, i64::try_from(done).unwrap());
}

async fn a_command_whose_caller_is_gone_is_not_carried_out(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    let elsewhere = service.db.clone(); // a SQLite file is open once
    let locked = lock(&service, &elsewhere).await;
    let writer = service.writer.clone();
    let busy = tokio::spawn(async move { writer.execute(Add { id: 1, number: 1 }).await });
    // On Postgres the first command must be in a batch before the second is sent. On SQLite the writer takes none while the
    // file is locked.
    if service.db.dialect() == Dialect::Postgres {
        until_a_lock_is_waited_for(&service.db).await;
    }
    let gone =
        timeout(Duration::from_millis(100), service.writer.execute(Add { id: 1, number: 100 }));
    assert!(gone.await.is_err(), "it waits");
    locked.commit().await.unwrap();
    assert_eq!(busy.await.unwrap().unwrap(), 1);
    assert_eq!(service.writer.execute(Add { id: 1, number: 1 }).await.unwrap(), 2);
}

/// Two replicas of which each waits for the other would otherwise carry a few commands at a time.
async fn what_comes_before_a_batch_has_its_turn_is_in_it(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    let elsewhere = service.db.clone(); // a SQLite file is open once
    let locked = lock(&service, &elsewhere).await;
    let mut replicas = Vec::new();
    if service.db.dialect() == Dialect::Postgres {
        // Another replica has its turn, and waits for the row.
        let replica = Service::start(&db, &Scripted::default()).await;
        replicas.push((execute_many(&replica, 1), replica));
        until_a_lock_is_waited_for(&service.db).await;
    }
    let batches_of_9_to_16 = async || {
        let up_to = |text: &str, size: &str| -> i64 {
            let bucket = format!("writer_batch_size_bucket{{le=\"{size}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&bucket));
            line.expect("there is such a bucket").parse().unwrap()
        };
        let text = service.metrics().await;
        up_to(&text, "16.0") - up_to(&text, "8.0")
    };
    assert_eq!(batches_of_9_to_16().await, 0);
    let first = execute_many(&service, 1);
    sleep(Duration::from_millis(100)).await;
    let others = execute_many(&service, 8);
    sleep(Duration::from_millis(100)).await;
    locked.commit().await.unwrap();
    for (outcome, _) in first.join_all().await.into_iter().chain(others.join_all().await) {
        outcome.unwrap();
    }
    assert_eq!(batches_of_9_to_16().await, 1, "all nine go in one transaction");
    for (asked, _replica) in replicas {
        assert!(asked.join_all().await.into_iter().all(|(outcome, _)| outcome.is_ok()));
    }
}
