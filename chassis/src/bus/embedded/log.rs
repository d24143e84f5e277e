//! The file of the embedded log: messages by partition and offset, and where each group is.

use super::super::{Delivery, Message, Place};
use super::{PARTITIONS, partition};
use crate::db::now;
use crate::places::{Places, pieces};
use anyhow::{Context, bail};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, AssertSqlSafe, Executor, Row};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

/// How long an offset may wait for messages to be written with.
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
        let shared = Arc::new(Shared { ends, positions, changed: watch::Sender::new(0) });
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
        most: i64,
    ) -> anyhow::Result<Vec<Delivery>> {
        let rows = sqlx::query(
            "select seq, key, payload, headers, at from messages \
             where partition = $1 and seq >= $2 order by seq limit $3",
        )
        .bind(i64::from(partition))
        .bind(from)
        .bind(most)
        .fetch_all(&self.pool)
        .await?;
        let delivery = |row: sqlx::any::AnyRow| -> anyhow::Result<Delivery> {
            Ok(Delivery {
                place: Place { partition, offset: row.try_get(0)? },
                key: Some(row.try_get(1)?),
                payload: row.try_get::<String, _>(2)?.into_bytes(),
                headers: serde_json::from_str(row.try_get::<&str, _>(3)?)?,
                at: row.try_get(4)?,
            })
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
    let mut jobs = Vec::new();
    loop {
        if let Ok(0) = tokio::time::timeout(OFFSETS_WAIT, inbox.recv_many(&mut jobs, 64)).await {
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
        let positions = shared.positions().clone();
        let moved: Vec<_> =
            positions.iter().filter(|(at, next)| written.get(*at) != Some(*next)).collect();
        if messages.is_empty() && moved.is_empty() {
            for answer in flushes {
                let _ = answer.send(());
            }
            continue;
        }
        let result = store(&pool, next, &messages, &moved).await.map_err(Arc::new);
        match &result {
            Ok(()) => {
                for message in &messages {
                    let end =
                        &shared.ends[usize::try_from(partition(&message.key)).unwrap_or_default()];
                    end.store(next, Ordering::Release);
                    next += 1;
                }
                written = positions;
                shared.changed.send_modify(|count| *count += 1);
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
    messages: &[Message],
    moved: &[(&(String, i32), &i64)],
) -> sqlx::Result<()> {
    let mut tx = pool.begin_with("begin immediate").await?;
    let (at, mut seq) = (now(), first);
    for piece in pieces(messages) {
        let sql = "insert into messages (partition, seq, key, payload, headers, at) values ";
        let sql = format!("{sql}{}", Places::of(&tx).rows(piece.len(), 6));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for message in piece {
            let headers = serde_json::to_string(&message.headers).unwrap_or_default();
            query = query.bind(i64::from(partition(&message.key))).bind(seq);
            query = query
                .bind(message.key.as_str())
                .bind(message.payload.as_str())
                .bind(headers)
                .bind(at);
            seq += 1;
        }
        query.execute(&mut *tx).await?;
    }
    for ((group, partition), next) in moved {
        sqlx::query(
            "insert into positions (consumer_group, partition, next) values ($1, $2, $3) \
             on conflict (consumer_group, partition) do update set next = excluded.next",
        )
        .bind(group.as_str())
        .bind(i64::from(*partition))
        .bind(**next)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}
