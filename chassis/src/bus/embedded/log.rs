//! The file of the embedded log: messages in batches, and the positions of the groups.
//!
//! Offsets have no gaps: a failed write takes none.

use crate::base::config::DatabaseUrl;
use crate::base::tasks::on_a_thread;
use crate::bus::embedded::shared::{Positions, ReplayGuard, Shared, delivery};
use crate::bus::embedded::write::{self, LogCommand};
use crate::bus::interface::{Delivery, Message};
use crate::storage::{Db, Schema};
use anyhow::{bail, ensure};
use sqlx::any::AnyRow;
use sqlx::{Executor, Row as _, query};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A batch is a row, as in Kafka's log: messages that are sent together are written and read as one text. The view has single
/// messages, for audits and for people.
const CREATE_TABLES: &str = "
    create table if not exists batches (
        first integer primary key,
        last bigint not null,
        at bigint not null,
        messages text not null
    );
    create view if not exists messages as
        select first + m.key as seq, m.value ->> 'key' as key, m.value ->> 'payload' as payload,
               m.value ->> 'headers' as headers, at
        from batches, json_each(messages) m;
    create table if not exists positions (consumer_group text primary key, next bigint not null) without rowid;
";
/// Finds the tables of versions before 0.2.0: a position for each of six partitions, or a row for each message.
const FIND_OLD_TABLES: &str = "select 1 from sqlite_schema where type = 'table' \
    and (name = 'messages' or name = 'positions' and sql like '%partition bigint%')";

/// An open log.
pub(super) struct Log {
    db: Db,
    commands: mpsc::Sender<LogCommand>,
    shared: Arc<Shared>,
}

/// A row of messages. `first` is the offset of its first message.
struct Batch {
    first: i64,
    timestamp: i64,
    messages: String,
}

impl Batch {
    fn read(row: &AnyRow) -> sqlx::Result<Self> {
        let (first, timestamp, messages) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Self { first, timestamp, messages })
    }

    /// Returns its messages from offset `from` on.
    fn deliveries(&self, from: i64) -> serde_json::Result<impl Iterator<Item = Delivery>> {
        let timestamp = self.timestamp;
        let messages: Vec<Message> = serde_json::from_str(&self.messages)?;
        let messages = (self.first..).zip(messages).skip_while(move |(offset, _)| *offset < from);
        Ok(messages.map(move |(offset, message)| delivery(message, offset, timestamp)))
    }
}

impl Log {
    /// Opens the file, or creates it.
    pub(super) async fn open(file: &Path) -> anyhow::Result<Self> {
        let url = DatabaseUrl::of_file(file).map_err(anyhow::Error::msg)?;
        let db = Db::open(&url, &Schema::bare(&[])).await?;
        match Self::load(&db).await {
            Ok(shared) => {
                let shared = Arc::new(shared);
                let (commands, receiver) = mpsc::channel(256);
                let written = shared.positions().clone(); // they may change before the task runs
                let write = write::run(db.clone(), receiver, Arc::clone(&shared), written);
                tokio::spawn(on_a_thread("event-log", write)); // it waits for the disk
                Ok(Self { db, commands, shared })
            }
            Err(error) => {
                db.close().await;
                Err(error.context(file.display().to_string()))
            }
        }
    }

    /// Creates missing tables, and returns the state of the file.
    async fn load(db: &Db) -> anyhow::Result<Shared> {
        if db.fetch_optional(query(FIND_OLD_TABLES)).await?.is_some() {
            bail!(
                "a version before 0.2.0 made this event log: begin with an empty directory (docs/operate/upgrades.md)"
            );
        }
        let mut tx = db.begin().await?;
        tx.execute(CREATE_TABLES).await?;
        tx.commit().await?;
        let mut positions = Positions::new();
        for row in db.fetch_all(query("select consumer_group, next from positions")).await? {
            positions.insert(row.try_get(0)?, row.try_get(1)?);
        }
        let next = query("select last + 1 from batches order by first desc limit 1");
        let next = db.fetch_optional(next).await?.map_or(Ok(0), |row| row.try_get(0))?;
        let oldest = query("select first from batches order by first limit 1");
        let oldest = db.fetch_optional(oldest).await?.map_or(Ok(0), |row| row.try_get(0))?;
        Ok(Shared::new(oldest, next, positions))
    }

    /// Appends messages in order. They are durable when this returns.
    pub(super) async fn append(&self, messages: Vec<Message>) -> anyhow::Result<()> {
        let (reply, result) = oneshot::channel();
        self.commands.send(LogCommand::Append(messages, reply)).await?;
        Ok(result.await??)
    }

    /// Returns the messages from offset `from` on: `limit`, or all that there are if they are fewer.
    ///
    /// # Errors
    /// The file cannot be read, or lacks messages.
    pub(super) async fn read(&self, from: i64, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        if let Some(newest) = self.shared.tail().since(from) {
            return Ok(newest.take(limit).map(Arc::clone).collect());
        }
        // The batch with offset `from` and those after it. Each has at least one message.
        let batches = query(
            "select first, at, messages from batches \
             where first >= coalesce((select max(first) from batches where first <= $1), $1) and first < $2 order by first",
        );
        let end = from.saturating_add(i64::try_from(limit)?);
        let mut read = Vec::new();
        for row in self.db.fetch_all(batches.bind(from).bind(end)).await? {
            let room = limit - read.len();
            read.extend(Batch::read(&row)?.deliveries(from)?.take(room).map(Arc::new));
        }
        let next = from + i64::try_from(read.len())?;
        let is_complete = read.last().is_some_and(|last| last.position.offset + 1 == next);
        ensure!(is_complete, "the event log lacks messages after offset {}", from - 1);
        Ok(read)
    }

    /// Returns the offset of the oldest message in the file.
    pub(super) fn oldest(&self) -> i64 {
        self.shared.oldest()
    }

    /// Keeps at least the newest `messages`. Each append deletes some of those before them that every group has read.
    pub(super) fn keep_messages(&self, messages: i64) {
        self.shared.keep(messages);
    }

    /// Begins a replay. Until it is dropped, no message is deleted; the oldest that is there then is that of [`Log::oldest`].
    pub(super) async fn begin_replay(&self) -> anyhow::Result<ReplayGuard> {
        let guard = self.shared.begin_replay();
        self.flush().await?; // a transaction that deletes messages may be under way
        Ok(guard)
    }

    /// Returns the messages from offset `from` on as [`Log::read`] does, and waits for the first.
    pub(super) async fn read_next(
        &self,
        from: i64,
        limit: usize,
    ) -> anyhow::Result<Vec<Arc<Delivery>>> {
        loop {
            // Subscribe to appends before the read, so that none in between is missed.
            let appended = self.appended();
            let read = self.read(from, limit).await?;
            if !read.is_empty() {
                return Ok(read);
            }
            appended.await;
        }
    }

    /// Returns the offset of the next message.
    pub(super) fn end(&self) -> i64 {
        self.shared.next()
    }

    /// Makes the caller the reader of a group. Returns false if it has one.
    pub(super) fn claim(&self, group: &str) -> bool {
        self.shared.readers().insert(group.to_owned())
    }

    /// Ends a claim.
    pub(super) fn release(&self, group: &str) {
        self.shared.readers().remove(group);
    }

    /// Returns the next offset of a group.
    pub(super) fn position(&self, group: &str) -> i64 {
        self.shared.positions().get(group).copied().unwrap_or_default()
    }

    /// Returns the number of messages after the last that `group` committed.
    pub(super) fn lag(&self, group: &str) -> i64 {
        let next = self.position(group);
        (self.end() - next).max(0)
    }

    /// Commits the next offset of a group. A position never moves back. It is in the file with the next messages or after
    /// [`write`]'s flush interval.
    pub(super) fn commit(&self, group: &str, offset: i64) {
        let mut positions = self.shared.positions();
        let next = positions.entry(group.to_owned()).or_default();
        *next = (*next).max(offset);
    }

    /// Deletes the positions of all groups but `groups`. The file follows as after [`Log::commit`].
    pub(super) fn keep_groups(&self, groups: &[&str]) {
        self.shared.positions().retain(|group, _| groups.contains(&group.as_str()));
    }

    /// Resolves at the next append after this call.
    pub(super) fn appended(&self) -> impl Future<Output = ()> + use<> {
        self.shared.appended()
    }

    /// Writes the positions of the groups.
    pub(super) async fn flush(&self) -> anyhow::Result<()> {
        let (reply, done) = oneshot::channel();
        self.commands.send(LogCommand::Flush(reply)).await?;
        Ok(done.await?)
    }

    /// Writes the positions of the groups and closes the file.
    pub(super) async fn close(&self) {
        let _ = self.flush().await;
        self.db.close().await;
    }
}

#[cfg(test)]
mod tests;
