//! The one task that writes the embedded log.

use super::super::Message;
use super::log::Shared;
use crate::db::{Statement, Tx, now};
use crate::rows;
use serde::Serialize;
use sqlx::AnyPool;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::error;

/// How long an offset may wait until it is written: one that is lost costs no more than a redelivery.
const OFFSETS_WAIT: Duration = Duration::from_millis(200);
/// Messages in one row: a reader that is behind takes as many at once, and reads whole rows.
const ROW: usize = 500;

pub(super) enum Job {
    Append(Vec<Message>, oneshot::Sender<Result<(), Arc<sqlx::Error>>>),
    /// Write the positions now.
    Flush(oneshot::Sender<()>),
}

/// Takes what waits and commits it together.
pub(super) async fn run(pool: AnyPool, mut inbox: mpsc::Receiver<Job>, shared: Arc<Shared>) {
    let mut written = shared.positions().clone();
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
        let at = now();
        let result = if batches.is_empty() && moved.is_empty() {
            Ok(())
        } else {
            store(&pool, shared.next(), at, &batches, &moved).await.map_err(Arc::new)
        };
        match &result {
            Ok(()) => {
                for messages in batches {
                    shared.show(messages, at);
                }
                if due {
                    (written, positions_at) = (positions, Instant::now());
                }
            }
            Err(error) => error!(%error, "the event log could not be written"),
        }
        for answer in appends {
            let _ = answer.send(result.clone());
        }
        for answer in flushes {
            let _ = answer.send(());
        }
    }
}

async fn store(
    pool: &AnyPool,
    mut first: i64,
    at: i64,
    batches: &[Vec<Message>],
    moved: &[(&(String, i32), &i64)],
) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Position<'a> {
        consumer_group: &'a str,
        partition: i32,
        next: i64,
    }
    let mut tx = Tx::new(pool.begin_with("begin immediate").await?);
    for messages in batches.iter().flat_map(|messages| messages.chunks(ROW)) {
        let next = first + i64::try_from(messages.len()).unwrap_or_default();
        let text =
            serde_json::to_string(messages).map_err(|error| sqlx::Error::Encode(error.into()))?;
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
    tx.commit().await
}
