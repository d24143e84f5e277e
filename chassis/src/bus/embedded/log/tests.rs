use super::*;
use crate::bus::embedded::EmbeddedLog;
use crate::bus::interface::Bus as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

fn messages(numbers: std::ops::Range<i64>) -> Vec<Message> {
    let message = |number: i64| Message {
        key: number.to_string(),
        payload: format!(r#"{{"a":"\"{number}"}}"#),
        headers: vec![("ce_id".into(), "x".into())],
    };
    numbers.map(message).collect()
}

fn offsets(read: &[Arc<Delivery>]) -> Vec<i64> {
    read.iter().map(|message| message.position.offset).collect()
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_refused_and_stays_as_it_was() {
    let row_for_each_message =
        "create table messages (partition bigint not null, seq bigint not null)";
    let six_partitions = "
        create table batches (first integer primary key, last bigint not null, at bigint not null, messages text not null);
        create view messages as select first as seq from batches;
        create table positions (
            consumer_group text not null,
            partition bigint not null,
            next bigint not null,
            primary key (consumer_group, partition)
        ) without rowid;
        insert into positions values ('cart', 5, 7);";
    for tables in [row_for_each_message, six_partitions] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("events.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut old = options.connect().await.unwrap();
        old.execute(tables).await.unwrap();
        let schema = "select string_agg(sql, ';' order by name) from sqlite_schema where name not like '%sqlx%'";
        let before: String = old.fetch_one(schema).await.unwrap().get(0);
        old.close().await.unwrap();

        for _ in 0..2 {
            // The second time shows that the first one unlocked the file.
            let error = Log::open(&file).await.err().expect("it is of an earlier version");
            let line = format!("{error:#}");
            assert!(
                line.contains("events.db: a version before 0.2.0 made this event log"),
                "{line}"
            );
            assert!(line.contains("empty directory") && !line.contains('\n'), "{line}");
        }
        let mut old = options.connect().await.unwrap();
        assert_eq!(old.fetch_one(schema).await.unwrap().get::<String, _>(0), before);
        old.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_is_behind_gets_as_many_messages_as_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let log = Log::open(&file).await.unwrap();
    // Rows of 1, 2, 497, 500 and 203 messages.
    for numbers in [0..1, 1..3, 3..500, 500..1_203] {
        log.append(messages(numbers)).await.unwrap();
    }
    let from_memory = log.read(0, 5_000).await.unwrap();
    log.close().await;

    let log = Log::open(&file).await.unwrap();
    assert_eq!(log.end(), 1_203);
    let from_file = log.read(0, 5_000).await.unwrap();
    assert_eq!(from_file, from_memory);
    assert_eq!(offsets(&from_file), (0..1_203).collect::<Vec<_>>());
    for (sent, read) in messages(0..1_203).into_iter().zip(&from_file) {
        assert_eq!(read.key, Some(sent.key));
        assert_eq!(read.payload, Some(sent.payload.into_bytes().into()));
        assert_eq!(read.headers, sent.headers);
    }
    for (from, limit, wanted) in [
        (0, 500, 0..500),
        (2, 500, 2..502),
        (700, 500, 700..1_200),
        (1_198, 3, 1_198..1_201),
        (1_000, 500, 1_000..1_203),
    ] {
        let read = log.read(from, limit).await.unwrap();
        assert_eq!(offsets(&read), wanted.collect::<Vec<_>>(), "{limit} from {from}");
    }
    assert!(log.read(1_203, 500).await.unwrap().is_empty());

    // The newest are in memory and those before them in the file.
    log.append(messages(1_203..1_205)).await.unwrap();
    assert_eq!(offsets(&log.read(1_202, 500).await.unwrap()), [1_202, 1_203, 1_204]);
    assert_eq!(offsets(&log.read(1_203, 500).await.unwrap()), [1_203, 1_204]);
    log.close().await;
}

#[tokio::test]
async fn a_hole_in_the_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let log = Log::open(&file).await.unwrap();
    log.append(messages(0..1)).await.unwrap();
    log.append(messages(1..900)).await.unwrap();
    log.close().await;
    let mut damaged = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    damaged.execute("delete from batches where first = 1").await.unwrap();
    damaged.close().await.unwrap();

    let log = Log::open(&file).await.unwrap();
    assert_eq!(offsets(&log.read(0, 1).await.unwrap()), [0]);
    for (from, limit) in [(0, 5_000), (1, 1), (1, 5_000)] {
        let error = log.read(from, limit).await.unwrap_err();
        assert!(error.to_string().contains("the event log lacks messages"), "{error}");
    }
    assert_eq!(offsets(&log.read(600, 500).await.unwrap()), (600..900).collect::<Vec<_>>());
    log.close().await;
}

#[tokio::test]
async fn positions_of_removed_groups_are_deleted_and_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let log = Log::open(&file).await.unwrap();
    for (group, offset) in [("cart", 7), ("removed", 7), ("payment", 5), ("cart", 6)] {
        log.commit(group, offset);
    }
    log.close().await;

    let log = Log::open(&file).await.unwrap();
    log.keep_groups(&["cart", "payment", "new"]);
    log.close().await;

    let log = Log::open(&file).await.unwrap();
    let positions = ["cart", "removed", "payment"].map(|group| log.position(group));
    assert_eq!(positions, [7, 0, 5]);
    let rows = log.db.fetch_all(query("select 1 from positions")).await.unwrap();
    assert_eq!(rows.len(), 2);
    log.close().await;
}

/// Appends messages of these numbers, each in a row of its own.
async fn append_rows(log: &Log, numbers: std::ops::Range<i64>) {
    for number in numbers {
        log.append(messages(number..number + 1)).await.unwrap();
    }
}

#[tokio::test]
async fn messages_leave_the_file_once_they_are_too_many_and_every_group_has_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let log = Log::open(&file).await.unwrap();
    log.keep_messages(5);
    append_rows(&log, 0..30).await;
    assert_eq!(log.oldest(), 0, "no group has read them");
    for (group, offset) in [("cart", 30), ("payment", 10)] {
        log.commit(group, offset);
    }
    log.flush().await.unwrap();
    append_rows(&log, 30..60).await;
    assert_eq!(log.oldest(), 10, "payment has not read the others");
    assert!(log.claim("new"), "it has no reader");
    log.commit("payment", 60);
    log.commit("cart", 60);
    log.flush().await.unwrap();
    append_rows(&log, 60..61).await;
    assert_eq!(log.oldest(), 10, "the group `new` has read nothing yet");
    log.release("new");
    append_rows(&log, 61..62).await;
    assert_eq!(log.oldest(), 12, "a transaction deletes two rows for each that it adds");
    append_rows(&log, 62..120).await;
    assert_eq!(log.oldest(), 60, "the groups have read no more");
    log.commit("payment", 120);
    log.commit("cart", 120);
    log.flush().await.unwrap();
    append_rows(&log, 120..160).await;
    assert_eq!(log.oldest(), 120);
    log.commit("payment", 160);
    log.commit("cart", 160);
    log.flush().await.unwrap();
    append_rows(&log, 160..200).await;
    log.close().await;

    let log = Log::open(&file).await.unwrap();
    assert_eq!((log.oldest(), log.end()), (160, 200));
    assert_eq!(offsets(&log.read(160, 500).await.unwrap()), (160..200).collect::<Vec<_>>());
    append_rows(&log, 200..210).await;
    assert_eq!(log.oldest(), 160, "it keeps all unless it is told otherwise");
    log.close().await;
}

#[tokio::test]
async fn a_replay_begins_with_the_oldest_message_and_keeps_the_others_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let bus = EmbeddedLog::open(&dir.path().join("events.db")).await.unwrap();
    let log = &bus.0;
    bus.keep_messages(5);
    append_rows(log, 0..30).await;
    let read_all = async || {
        log.commit("cart", log.end());
        log.flush().await.unwrap();
    };
    read_all().await;
    append_rows(log, 30..35).await;
    assert_eq!(log.oldest(), 10);

    let mut replay = bus.replay().await.unwrap();
    read_all().await;
    append_rows(log, 35..60).await;
    assert_eq!(log.oldest(), 10);
    let mut read = Vec::new();
    while let Some(some) = replay.next(7).await.unwrap() {
        read.extend(offsets(&some));
    }
    assert_eq!(read, (10..35).collect::<Vec<_>>());
    drop(replay);
    append_rows(log, 60..90).await;
    assert_eq!(log.oldest(), 35);

    let mut reader = bus.subscribe("new").await.unwrap();
    assert_eq!(offsets(&reader.poll(2).await.unwrap()), [35, 36]);
    drop(reader);
    bus.close().await;
}
