//! The file of the embedded log: messages by partition and offset, and where each group is.

use super::super::{Delivery, Message, Place};
use super::tail::Tail;
use super::{PARTITIONS, partition};
use crate::db::{Dialect, Tx, now};
use crate::rows;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Executor, Row as _};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::error;

/// How long an offset may wait until it is written: one that is lost costs no more than a redelivery.
const OFFSETS_WAIT: Duration = Duration::from_millis(200);

const TABLES: &str = "
    create table if not exists messages (
        partition bigint not null,
        seq bigint not null,
        key text not null,
        payload text not null,
        headers text not null,
        at bigint not null,
        primary key (partition, seq)
    ) without rowid;
    create table if not exists positions (
        consumer_group text not null,
        partition bigint not null,
        next bigint not null,
        primary key (consumer_group, partition)
    ) without rowid;
";

type Positions = HashMap<(String, i32), i64>;

enum Job {
    Append(Vec<Message>, oneshot::Sender<Result<(), Arc<sqlx::Error>>>),
    /// Write the positions now.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Log {
    pool: AnyPool,
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    /// Locked while the log is open.
    lock: File,
}

/// What the writing task and the readers share.
struct Shared {
    /// The last offset of each partition, -1 for none.
    ends: Vec<AtomicI64>,
    /// The last messages of each partition.
    tails: Vec<Mutex<Tail>>,
    /// Where each group is, also what is not written yet.
    positions: Mutex<Positions>,
    changed: watch::Sender<u64>,
}

impl Log {
    pub(super) async fn open(file: &Path) -> anyhow::Result<Self> {
        install_default_drivers();
        let lock_file = file.with_extension("lock");
        let lock = File::create(&lock_file)
            .with_context(|| format!("cannot make {}", lock_file.display()))?;
        if lock.try_lock().is_err() {
            bail!("{} is in use by another process", file.display());
        }
        let options: AnyConnectOptions = format!("sqlite:{}?mode=rwc", file.display()).parse()?;
        let pool = AnyPoolOptions::new()
            .max_connections(6)
            .after_connect(|connection, _| {
                Box::pin(async {
                    let settings = "pragma busy_timeout = 5000; pragma journal_mode = wal; \
                                    pragma synchronous = full";
                    connection.execute(settings).await.map(|_| ())
                })
            })
            .connect_with(options)
            .await?;
        pool.execute(TABLES).await?;

        let ends: Vec<AtomicI64> = (0..PARTITIONS).map(|_| AtomicI64::new(-1)).collect();
        let last = sqlx::query("select partition, max(seq) from messages group by partition");
        for row in last.fetch_all(&pool).await? {
            let partition = usize::try_from(row.try_get::<i64, _>(0)?)?;
            ends[partition].store(row.try_get(1)?, Ordering::Release);
        }
        let mut positions = Positions::new();
        for row in sqlx::query("select consumer_group, partition, next from positions")
            .fetch_all(&pool)
            .await?
        {
            let partition = i32::try_from(row.try_get::<i64, _>(1)?)?;
            positions.insert((row.try_get(0)?, partition), row.try_get(2)?);
        }
        let positions = Mutex::new(positions);
        let tails = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { ends, tails, positions, changed: watch::Sender::new(0) });
        let (jobs, inbox) = mpsc::channel(256);
        tokio::spawn(write(pool.clone(), inbox, Arc::clone(&shared)));
        Ok(Self { pool, jobs, shared, lock })
    }

    /// Appends in order; durable when it answers.
    pub(super) async fn append(&self, messages: Vec<Message>) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Append(messages, answer)).await?;
        Ok(answered.await??)
    }

    /// Up to `most` messages of a partition, from offset `from` on.
    pub(super) async fn read(
        &self,
        partition: i32,
        from: i64,
        most: usize,
    ) -> anyhow::Result<Vec<Arc<Delivery>>> {
        if let Some(messages) = self.shared.tail(partition).read(from, most) {
            return Ok(messages);
        }
        self.read_file(partition, from, most).await
    }

    /// The same, of what is in the file.
    pub(super) async fn read_file(
        &self,
        partition: i32,
        from: i64,
        most: usize,
    ) -> anyhow::Result<Vec<Arc<Delivery>>> {
        #[derive(Deserialize)]
        struct Row {
            seq: i64,
            key: String,
            payload: String,
            headers: String,
            at: i64,
        }
        let of = "from messages where partition = $1 and seq >= $2 order by seq limit $3";
        let select = rows::select(Dialect::Sqlite, "seq, key, payload, headers, at", of)
            .bind(i64::from(partition))
            .bind(from)
            .bind(i64::try_from(most).unwrap_or(i64::MAX));
        let rows: Vec<Row> = rows::read(select, &self.pool).await?;
        let delivery = |row: Row| -> anyhow::Result<Arc<Delivery>> {
            Ok(Arc::new(Delivery {
                place: Place { partition, offset: row.seq },
                key: Some(row.key),
                payload: row.payload.into_bytes(),
                headers: serde_json::from_str(&row.headers)?,
                at: row.at,
            }))
        };
        rows.into_iter().map(delivery).collect()
    }

    /// The last offset of a partition, -1 for none.
    pub(super) fn end_of(&self, partition: i32) -> i64 {
        self.shared.end_of(partition)
    }

    /// The next offset for a group.
    pub(super) fn next_of(&self, group: &str, partition: i32) -> i64 {
        self.shared.next_of(group, partition)
    }

    /// Messages of `partitions` that `group` has not done.
    pub(super) fn lag(&self, group: &str, partitions: impl Iterator<Item = i32>) -> i64 {
        let of = |partition| self.end_of(partition) + 1 - self.shared.next_of(group, partition);
        partitions.map(of).map(|lag| lag.max(0)).sum()
    }

    /// Moves a group on, never back. Written with the next messages or after [`OFFSETS_WAIT`].
    pub(super) fn commit(&self, group: &str, ends: &HashMap<i32, i64>) {
        let mut positions = self.shared.positions();
        for (&partition, &end) in ends {
            let next = positions.entry((group.to_owned(), partition)).or_default();
            *next = (*next).max(end);
        }
    }

    /// Resolves at the next append after this call.
    pub(super) fn appended(&self) -> impl Future<Output = ()> + use<> {
        let mut changed = self.shared.changed.subscribe();
        async move {
            let _ = changed.changed().await;
        }
    }

    /// Writes the positions.
    pub(super) async fn flush(&self) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Flush(answer)).await?;
        Ok(answered.await?)
    }

    pub(super) async fn close(&self) {
        let _ = self.flush().await;
        self.pool.close().await;
        // Said, not left to the file's end: a child that is just being started has our files open
        // until it runs its own program, and would hold the lock for that long.
        let _ = self.lock.unlock();
    }
}

impl Shared {
    fn end_of(&self, partition: i32) -> i64 {
        self.ends[usize::try_from(partition).unwrap_or_default()].load(Ordering::Acquire)
    }

    fn tail(&self, partition: i32) -> std::sync::MutexGuard<'_, Tail> {
        let tail = &self.tails[usize::try_from(partition).unwrap_or_default()];
        tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows readers what is in the file now, from offset `first` on.
    fn show(&self, messages: Vec<Message>, first: i64, at: i64) {
        for (offset, message) in (first..).zip(messages) {
            let partition = partition(&message.key);
            let delivery = Delivery {
                place: Place { partition, offset },
                key: Some(message.key),
                payload: message.payload.into_bytes(),
                headers: message.headers,
                at,
            };
            self.tail(partition).push(Arc::new(delivery), self.end_of(partition));
            let end = &self.ends[usize::try_from(partition).unwrap_or_default()];
            end.store(offset, Ordering::Release);
        }
        self.changed.send_modify(|count| *count += 1);
    }

    fn next_of(&self, group: &str, partition: i32) -> i64 {
        self.positions().get(&(group.to_owned(), partition)).copied().unwrap_or_default()
    }

    fn positions(&self) -> std::sync::MutexGuard<'_, Positions> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one task that writes: takes what waits and commits it together.
async fn write(pool: AnyPool, mut inbox: mpsc::Receiver<Job>, shared: Arc<Shared>) {
    let mut next =
        shared.ends.iter().map(|end| end.load(Ordering::Acquire)).max().unwrap_or(-1) + 1;
    let mut written = shared.positions().clone();
    let mut positions_at = Instant::now();
    let mut jobs = Vec::new();
    loop {
        if let Ok(0) = timeout(OFFSETS_WAIT, inbox.recv_many(&mut jobs, 64)).await {
            return;
        }
        let (mut messages, mut appends, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Append(some, answer) => {
                    messages.extend(some);
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
        let result = if messages.is_empty() && moved.is_empty() {
            Ok(())
        } else {
            store(&pool, next, at, &messages, &moved).await.map_err(Arc::new)
        };
        match &result {
            Ok(()) => {
                let count = i64::try_from(messages.len()).unwrap_or_default();
                if count > 0 {
                    shared.show(messages, next, at);
                }
                next += count;
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
    first: i64,
    at: i64,
    messages: &[Message],
    moved: &[(&(String, i32), &i64)],
) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        partition: i32,
        seq: i64,
        key: &'a str,
        payload: &'a str,
        headers: String,
        at: i64,
    }
    #[derive(Serialize)]
    struct Position<'a> {
        consumer_group: &'a str,
        partition: i32,
        next: i64,
    }
    let rows = (first..).zip(messages).map(|(seq, message)| Row {
        partition: partition(&message.key),
        seq,
        key: &message.key,
        payload: &message.payload,
        headers: serde_json::to_string(&message.headers).unwrap_or_default(),
        at,
    });
    let positions = moved.iter().map(|((group, partition), next)| Position {
        consumer_group: group,
        partition: *partition,
        next: **next,
    });
    let mut tx = Tx::new(pool.begin_with("begin immediate").await?);
    rows::insert(&mut tx, "messages", &rows.collect::<Vec<_>>(), "")?;
    let set = "on conflict (consumer_group, partition) do update set next = excluded.next";
    rows::insert(&mut tx, "positions", &positions.collect::<Vec<_>>(), set)?;
    tx.commit().await
}
