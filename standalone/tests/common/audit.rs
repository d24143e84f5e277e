//! Checks of the databases and the embedded log.

use chaos::audit::invariants;
use chassis::testing::eventually;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use std::path::Path;

/// Waits until the databases keep all [`invariants`], and checks the order of the embedded log.
pub async fn settled(dir: &Path) {
    for (service, query, what) in invariants() {
        let file = dir.join(service).with_extension("db");
        eventually(&format!("no {what}"), async || (scalar(&file, query).await == 0).then_some(()))
            .await;
    }
    // Copies aside, CartAdded comes before CartRemoved of the same cart.
    let disorder = "select count(*) from \
        (select min(seq) as seq, key, json_extract(payload, '$.eventType') as type, \
                json_extract(payload, '$.cartId') as of, json_extract(payload, '$.id') as id \
         from messages group by json_extract(payload, '$.eventId')) removed \
        join (select min(seq) as seq, json_extract(payload, '$.id') as id from messages \
              where json_extract(payload, '$.eventType') = 'CartAdded' group by 2) added \
        on removed.type = 'CartRemoved' and removed.id = added.id and removed.seq < added.seq";
    let log = dir.join("events.db");
    if log.exists() {
        assert_eq!(scalar(&log, disorder).await, 0, "CartRemoved before CartAdded");
    }
}

/// Returns how many messages of the embedded log are copies of an earlier one.
pub async fn copies(dir: &Path) -> i64 {
    let copies =
        "select count(*) - count(distinct json_extract(payload, '$.eventId')) from messages";
    scalar(&dir.join("events.db"), copies).await
}

async fn scalar(file: &Path, query: &str) -> i64 {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", file.display());
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut connection).await;
    row.unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
}
