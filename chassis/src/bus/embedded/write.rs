//! The task that writes the embedded log. It is the only one.

use crate::base::clock::now;
use crate::bus::embedded::shared::{Positions, Shared};
use crate::bus::interface::Message;
use crate::storage::{Db, Statement, is_at_fault, rows};
use anyhow::ensure;
use serde::Serialize;
use sqlx::{Row as _, query};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{error, warn};

/// Upper bound for the time until a committed offset is in the file. Losing one costs a redelivery only.
const OFFSET_FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// Rows that a transaction deletes for each that it adds: so a log that is too long becomes shorter, and no transaction is long.
const DELETED_ROWS_PER_ADDED: i64 = 2;
/// Messages in one row. Equals the batch of a consumer: a reader that is behind reads whole rows.
const ROW_MESSAGES_MAX: usize = 500;

/// A request to the writing task.
pub(super) enum LogCommand {
    /// Append messages.
    Append(Vec<Message>, oneshot::Sender<Result<(), AppendError>>),
    /// Write the positions of the groups now.
    Flush(oneshot::Sender<()>),
}

/// The error for messages that are not known to be in the file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct AppendError(Arc<str>);

/// Writes all waiting commands in one transaction, again and again, until the log is dropped. `written` are the positions in
/// the file.
pub(super) async fn run(
    db: Db,
    mut commands: mpsc::Receiver<LogCommand>,
    shared: Arc<Shared>,
    mut written: Positions,
) {
    // True after a failed commit: its messages may be in the file all the same.
    let mut end_unknown = false;
    let mut positions_written_at = Instant::now();
    let mut waiting = Vec::new();
    loop {
        if let Ok(0) = timeout(OFFSET_FLUSH_INTERVAL, commands.recv_many(&mut waiting, 64)).await {
            return;
        }
        let (mut batches, mut appends, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        for command in waiting.drain(..) {
            match command {
                LogCommand::Append(messages, reply) => {
                    batches.push(messages);
                    appends.push(reply);
                }
                LogCommand::Flush(reply) => flushes.push(reply),
            }
        }
        let due = !flushes.is_empty() || positions_written_at.elapsed() >= OFFSET_FLUSH_INTERVAL;
        let changed =
            due.then(|| shared.positions().clone()).filter(|positions| *positions != written);
        let timestamp = now();
        let result = if batches.is_empty() && changed.is_none() {
            Ok(None)
        } else {
            let stored = async {
                if end_unknown {
                    catch_up(&db, &shared).await?;
                }
                let batches = (timestamp, &batches[..]);
                let expendable = shared.expendable_before(&written);
                store(&db, shared.next(), batches, changed.as_ref(), expendable).await
            };
            let stored = stored.await;
            db.wrote(&stored);
            stored
        };
        end_unknown = result.is_err();
        match &result {
            Ok(oldest) => {
                if let Some(oldest) = oldest {
                    shared.set_oldest(*oldest);
                }
                for messages in batches {
                    shared.publish(messages, timestamp);
                }
                if due {
                    positions_written_at = Instant::now();
                }
                if let Some(changed) = changed {
                    written = changed;
                }
            }
            Err(error) if is_at_fault(error) => {} // logged once by `db`
            Err(error) => {
                error!(error = format!("{error:#}"), "the event log could not be written");
            }
        }
        let result = result.map(|_| ()).map_err(|error| AppendError(format!("{error:#}").into()));
        for reply in appends {
            let _ = reply.send(result.clone());
        }
        for reply in flushes {
            let _ = reply.send(());
        }
    }
}

/// Publishes messages that are in the file although their commit failed. The write before it settles the outcome: without it
/// a restart could find a transaction in the file that this process does not see.
async fn catch_up(db: &Db, shared: &Shared) -> anyhow::Result<()> {
    let mut connection = db.connection().await?;
    let mut tx = db.begin_on(&mut connection).await?;
    let rows = query("select first, at, messages from batches where first >= $1 order by first");
    let rows = rows.bind(shared.next()).fetch_all(&mut *tx).await?;
    let oldest = query("select first from batches order by first limit 1");
    let oldest = oldest.fetch_optional(&mut *tx).await?;
    tx.later(Statement::new("pragma user_version = 0"));
    tx.commit().await?;
    db.keep(connection);
    if let Some(row) = oldest {
        shared.set_oldest(row.try_get(0)?);
    }
    for row in rows {
        let first: i64 = row.try_get(0)?;
        ensure!(
            first == shared.next(),
            "offset {first} follows {} in the event log",
            shared.next()
        );
        warn!(first, "messages were written although their commit failed");
        shared.publish(serde_json::from_str(row.try_get(2)?)?, row.try_get(1)?);
    }
    Ok(())
}

/// Writes batches of messages with their timestamp, from the offset `first` on, and the positions of the groups if they changed.
/// Deletes some of the messages before `expendable_before`, and then returns the offset of the oldest that is left.
async fn store(
    db: &Db,
    mut first: i64,
    (timestamp, batches): (i64, &[Vec<Message>]),
    positions: Option<&Positions>,
    expendable_before: Option<i64>,
) -> anyhow::Result<Option<i64>> {
    #[derive(Serialize)]
    struct Position<'a> {
        consumer_group: &'a str,
        next: i64,
    }
    let mut connection = db.connection().await?; // dropped after an error
    let mut tx = db.begin_on(&mut connection).await?;
    let (mut oldest, mut added) = (None, 0);
    for messages in batches.iter().flat_map(|messages| messages.chunks(ROW_MESSAGES_MAX)) {
        let next = first + i64::try_from(messages.len()).unwrap_or_default();
        let text = serde_json::to_string(messages)?;
        let insert = "insert into batches (first, last, at, messages) values ($1, $2, $3, $4)";
        tx.later(
            Statement::new(insert).number(first).number(next - 1).number(timestamp).text(text),
        );
        first = next;
        added += 1;
    }
    if let Some(before) = expendable_before {
        let delete = query(
            "delete from batches where first in \
             (select first from batches where last < $1 order by first limit $2 + 0) returning last",
        );
        let delete = delete.bind(before).bind(added * DELETED_ROWS_PER_ADDED);
        for row in delete.fetch_all(&mut *tx).await? {
            let last: i64 = row.try_get(0)?;
            oldest = oldest.max(Some(last + 1));
        }
    }
    if let Some(positions) = positions {
        // All of them, so that those of removed groups go.
        tx.later(Statement::new("delete from positions"));
        let rows: Vec<_> = positions
            .iter()
            .map(|(group, next)| Position { consumer_group: group, next: *next })
            .collect();
        rows::insert(&mut tx, "positions", "consumer_group, next", &rows, "")?;
    }
    tx.commit().await?;
    db.keep(connection);
    Ok(oldest)
}
