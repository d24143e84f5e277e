//! The one task that writes the embedded log.

use crate::base::clock::now;
use crate::bus::embedded::shared::{GroupPartition, Positions, Shared};
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

/// How long an offset may wait until it is written: one that is lost costs no more than a redelivery.
const OFFSETS_WAIT: Duration = Duration::from_millis(200);
/// Messages in one row: a reader that is behind takes as many at once, and reads whole rows.
const ROW: usize = 500;

pub(super) enum Job {
    Append(Vec<Message>, oneshot::Sender<Result<(), NotWritten>>),
    /// Write the positions now.
    Flush(oneshot::Sender<()>),
}

/// Messages that are not known to be in the file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotWritten(Arc<str>);

/// Takes what waits and commits it together. `written` are the positions that are in the file.
pub(super) async fn run(
    db: Db,
    mut inbox: mpsc::Receiver<Job>,
    shared: Arc<Shared>,
    mut written: Positions,
) {
    // Whether the last commit failed, so that the end of the file must be looked for.
    let mut unsure = false;
    let mut positions_at = Instant::now();
    let mut jobs = Vec::new();
    loop {
        if let Ok(0) = timeout(OFFSETS_WAIT, inbox.recv_many(&mut jobs, 64)).await {
            return;
        }
        let (mut batches, mut appends, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Append(messages, answer) => {
                    batches.push(messages);
                    appends.push(answer);
                }
                Job::Flush(answer) => flushes.push(answer),
            }
        }
        let due = !flushes.is_empty() || positions_at.elapsed() >= OFFSETS_WAIT;
        let positions = if due { shared.positions().clone() } else { written.clone() };
        let moved: Vec<_> =
            positions.iter().filter(|(at, next)| written.get(*at) != Some(*next)).collect();
        let gone: Vec<_> = written.keys().filter(|at| !positions.contains_key(*at)).collect();
        let at = now();
        let result = if batches.is_empty() && moved.is_empty() && gone.is_empty() {
            Ok(())
        } else {
            let stored = async {
                if unsure {
                    catch_up(&db, &shared).await?;
                }
                store(&db, shared.next(), at, &batches, &moved, &gone).await
            };
            let stored = stored.await;
            db.wrote(&stored);
            stored
        };
        unsure = result.is_err();
        match &result {
            Ok(()) => {
                for messages in batches {
                    shared.show(messages, at);
                }
                if due {
                    (written, positions_at) = (positions, Instant::now());
                }
            }
            Err(error) if is_at_fault(error) => {} // logged once by `db`
            Err(error) => {
                error!(error = format!("{error:#}"), "the event log could not be written");
            }
        }
        let result = result.map_err(|error| NotWritten(format!("{error:#}").into()));
        for answer in appends {
            let _ = answer.send(result.clone());
        }
        for answer in flushes {
            let _ = answer.send(());
        }
    }
}

/// Shows what is in the file although its commit failed. A first write overwrites what a restart could find there and this
/// process does not see.
async fn catch_up(db: &Db, shared: &Shared) -> anyhow::Result<()> {
    let mut connection = db.connection().await?;
    let mut tx = db.begin_on(&mut connection).await?;
    let rows = query("select first, at, messages from batches where first >= $1 order by first");
    let rows = rows.bind(shared.next()).fetch_all(&mut *tx).await?;
    tx.later(Statement::new("pragma user_version = 0"));
    tx.commit().await?;
    db.keep(connection);
    for row in rows {
        let first: i64 = row.try_get(0)?;
        ensure!(
            first == shared.next(),
            "offset {first} follows {} in the event log",
            shared.next()
        );
        warn!(first, "messages were written although their commit failed");
        shared.show(serde_json::from_str(row.try_get(2)?)?, row.try_get(1)?);
    }
    Ok(())
}

async fn store(
    db: &Db,
    mut first: i64,
    at: i64,
    batches: &[Vec<Message>],
    moved: &[(&GroupPartition, &i64)],
    gone: &[&GroupPartition],
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Position<'a> {
        consumer_group: &'a str,
        partition: i32,
        next: i64,
    }
    let mut connection = db.connection().await?; // not kept where something fails
    let mut tx = db.begin_on(&mut connection).await?;
    for messages in batches.iter().flat_map(|messages| messages.chunks(ROW)) {
        let next = first + i64::try_from(messages.len()).unwrap_or_default();
        let text = serde_json::to_string(messages)?;
        let insert = "insert into batches (first, last, at, messages) values ($1, $2, $3, $4)";
        tx.later(Statement::new(insert).number(first).number(next - 1).number(at).text(text));
        first = next;
    }
    let positions = moved.iter().map(|((group, partition), next)| Position {
        consumer_group: group,
        partition: *partition,
        next: **next,
    });
    let set = "on conflict (consumer_group, partition) do update set next = excluded.next";
    rows::insert(&mut tx, "positions", &positions.collect::<Vec<_>>(), set)?;
    for (group, partition) in gone {
        let delete = "delete from positions where consumer_group = $1 and partition = $2";
        tx.later(Statement::new(delete).text(group.as_str()).number((*partition).into()));
    }
    tx.commit().await?;
    db.keep(connection);
    Ok(())
}
