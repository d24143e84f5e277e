use super::*;
use crate::bus::embedded::partition::partition;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

#[tokio::test]
async fn a_file_with_a_row_for_each_message_is_converted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut old = options.connect().await.unwrap();
    let tables = "create table messages (partition bigint not null, seq bigint not null, key text not null, \
                  payload text not null, headers text not null, at bigint not null, \
                  primary key (partition, seq)) without rowid";
    old.execute(tables).await.unwrap();
    for seq in 0..1_203_i64 {
        let insert = query("insert into messages values ($1, $2, $3, $4, $5, 7)");
        let insert = insert.bind(i64::from(partition(&seq.to_string()))).bind(seq);
        let headers = r#"[["ce_id","x"]]"#;
        let payload = format!(r#"{{"a":"\"{seq}"}}"#);
        insert.bind(seq.to_string()).bind(payload).bind(headers).execute(&mut old).await.unwrap();
    }
    old.close().await.unwrap();

    let log = Log::open(&file).await.unwrap();
    let all = log.all().await.unwrap();
    assert_eq!(all.len(), 1_203);
    for (seq, message) in (0..).zip(&all) {
        let position = TopicPosition { partition: partition(&seq.to_string()), offset: seq };
        assert_eq!((message.position, message.timestamp), (position, 7));
        assert_eq!(message.key, Some(seq.to_string()));
        assert_eq!(message.payload, Some(format!(r#"{{"a":"\"{seq}"}}"#).into_bytes()));
        assert_eq!(message.header("ce_id"), Some("x"));
    }
    let (read, next) = log.read(1_198, 3, |position| position.offset != 1_199).await.unwrap();
    let offsets: Vec<i64> = read.iter().map(|message| message.position.offset).collect();
    assert_eq!((offsets, next), (vec![1_198, 1_200, 1_201], 1_202));
    // More than two whole batches.
    let (read, next) = log.read(0, 1_000, |_| true).await.unwrap();
    assert_eq!((read.len(), next), (1_000, 1_000));
    assert_eq!(log.last_offset(partition("1202")), 1_202);
    log.close().await;
}

#[tokio::test]
async fn positions_of_removed_groups_are_deleted_and_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let log = Log::open(&file).await.unwrap();
    for group in ["cart", "removed", "payment"] {
        log.commit(group, &(0..PARTITIONS).map(|partition| (partition, 7)).collect());
    }
    log.close().await;

    let log = Log::open(&file).await.unwrap();
    log.keep_groups(&["cart", "payment", "new"]);
    log.close().await;

    let log = Log::open(&file).await.unwrap();
    let positions = ["cart", "removed", "payment"].map(|group| log.position(group, 1));
    assert_eq!(positions, [7, 0, 7]);
    let rows = log.db.fetch_all(query("select 1 from positions")).await.unwrap();
    assert_eq!(rows.len(), 2 * usize::try_from(PARTITIONS).unwrap());
    log.close().await;
}
