//! The file of the embedded log: messages in batches, and the positions of the groups.

use crate::base::config::DatabaseUrl;
use crate::bus::embedded::shared::{Positions, Shared, delivery};
use crate::bus::embedded::write::{self, LogCommand};
use crate::bus::interface::{Delivery, Message, TopicPosition};
use crate::bus::partitions::PARTITIONS;
use crate::storage::{Db, Schema};
use sqlx::any::AnyRow;
use sqlx::{Executor, Row as _, query};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
    create table if not exists positions (
        consumer_group text not null,
        partition bigint not null,
        next bigint not null,
        primary key (consumer_group, partition)
    ) without rowid;
";
/// Finds the table of files from before 2026-11-25, where each message was a row.
const FIND_MESSAGE_ROWS: &str =
    "select 1 from sqlite_schema where type = 'table' and name = 'messages'";
const CONVERT_TO_BATCHES: &str = "
    create table batches (first integer primary key, last bigint not null, at bigint not null, messages text not null);
    insert into batches select min(seq), max(seq), max(at),
        json_group_array(json_object('key', key, 'payload', payload, 'headers', json(headers)) order by seq)
        from messages group by seq / 500;
    drop table messages;
";
/// Rows in one page of [`Log::all`].
const PAGE_ROWS: i64 = 64;

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

    fn deliveries(&self) -> serde_json::Result<impl Iterator<Item = Delivery>> {
        let (first, timestamp) = (self.first, self.timestamp);
        let messages: Vec<Message> = serde_json::from_str(&self.messages)?;
        let messages = (first..).zip(messages);
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
                tokio::spawn(write::run(db.clone(), receiver, Arc::clone(&shared), written));
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
        let has_message_rows = db.fetch_optional(query(FIND_MESSAGE_ROWS)).await?.is_some();
        let mut tx = db.begin().await?;
        if has_message_rows {
            tx.execute(CONVERT_TO_BATCHES).await?;
        }
        tx.execute(CREATE_TABLES).await?;
        tx.commit().await?;
        let mut positions = Positions::new();
        let stored = "select consumer_group, partition, next from positions";
        for row in db.fetch_all(query(stored)).await? {
            let partition = i32::try_from(row.try_get::<i64, _>(1)?)?;
            positions.insert((row.try_get(0)?, partition), row.try_get(2)?);
        }
        Ok(Shared::new(last_offsets(db).await?, positions))
    }

    /// Appends messages in order. They are durable when this returns.
    pub(super) async fn append(&self, messages: Vec<Message>) -> anyhow::Result<()> {
        let (reply, result) = oneshot::channel();
        self.commands.send(LogCommand::Append(messages, reply)).await?;
        Ok(result.await??)
    }

    /// Returns at most `limit` messages from offset `from` on that `filter` accepts, and the offset to read from next.
    pub(super) async fn read(
        &self,
        mut from: i64,
        limit: usize,
        filter: impl Fn(TopicPosition) -> bool,
    ) -> anyhow::Result<(Vec<Arc<Delivery>>, i64)> {
        let mut taken = Vec::new();
        while taken.len() < limit {
            // Look at the tail again after each page of the file: the next message may be in memory now.
            if let Some(newest) = self.shared.tail().since(from) {
                for message in newest {
                    if taken.len() == limit {
                        break;
                    }
                    from = message.position.offset + 1;
                    if filter(message.position) {
                        taken.push(Arc::clone(message));
                    }
                }
                return Ok((taken, from));
            }
            for batch in self.batches(from, limit - taken.len()).await? {
                let begin = from;
                let deliveries =
                    batch.deliveries()?.skip_while(|delivery| delivery.position.offset < begin);
                for delivery in deliveries {
                    if taken.len() == limit {
                        return Ok((taken, from));
                    }
                    from = delivery.position.offset + 1;
                    if filter(delivery.position) {
                        taken.push(Arc::new(delivery));
                    }
                }
            }
        }
        Ok((taken, from))
    }

    /// Returns batches of the file, from the one with offset `from` on: as many as hold `limit` messages, and at least one.
    async fn batches(&self, from: i64, limit: usize) -> sqlx::Result<Vec<Batch>> {
        // Sums up the sizes of the batches first, so that it reads no more text than needed. A batch has at least one message,
        // so `limit` batches are always enough. The text is a plain column: within JSON it would be escaped again.
        let batches = query(
            "select first, at, messages from batches where first in (\
                 select first from (\
                     select first, sum(last - first + 1) over (order by first) - (last - first + 1) as before from \
                         (select first, last from batches where first >= coalesce(\
                             (select max(first) from batches where first <= $1), 0) \
                          order by first limit $2 + 0) next\
                 ) sums where before < $2\
             ) order by first",
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.db.fetch_all(batches.bind(from).bind(limit)).await?;
        rows.iter().map(Batch::read).collect()
    }

    /// Returns all messages, oldest first.
    pub(super) async fn all(&self) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let batches = query(
                "select first, at, messages, last from batches where first >= $1 order by first limit $2",
            );
            let rows = self.db.fetch_all(batches.bind(from).bind(PAGE_ROWS)).await?;
            let Some(last) = rows.last() else { return Ok(all) };
            from = last.try_get::<i64, _>(3)? + 1;
            for row in &rows {
                all.extend(Batch::read(row)?.deliveries()?.map(Arc::new));
            }
        }
    }

    /// Returns the last offset of a partition, -1 if it is empty.
    pub(super) fn last_offset(&self, partition: i32) -> i64 {
        self.shared.last_offset(partition).load(Ordering::Acquire)
    }

    /// Returns the offset of the next message in any partition: all partitions share one sequence of offsets.
    pub(super) fn end(&self) -> i64 {
        self.shared.next()
    }

    /// Returns the next offset of a group in a partition.
    pub(super) fn position(&self, group: &str, partition: i32) -> i64 {
        self.shared.positions().get(&(group.to_owned(), partition)).copied().unwrap_or_default()
    }

    /// Returns the number of messages after the last that `group` committed. This is its lag if it has one member, which handles
    /// messages in order.
    pub(super) fn lag(&self, group: &str) -> i64 {
        let end = (0..PARTITIONS).map(|partition| self.last_offset(partition) + 1).max();
        let next = (0..PARTITIONS).map(|partition| self.position(group, partition)).max();
        (end.unwrap_or_default() - next.unwrap_or_default()).max(0)
    }

    /// Commits the next offset of each partition for a group. A position never moves back. It is in the file with the next
    /// messages or after [`write`]'s flush interval.
    pub(super) fn commit(&self, group: &str, offsets: &HashMap<i32, i64>) {
        let mut positions = self.shared.positions();
        for (&partition, &offset) in offsets {
            let next = positions.entry((group.to_owned(), partition)).or_default();
            *next = (*next).max(offset);
        }
    }

    /// Deletes the positions of all groups but `groups`. The file follows as after [`Log::commit`].
    pub(super) fn keep_groups(&self, groups: &[&str]) {
        self.shared.positions().retain(|(group, _), _| groups.contains(&group.as_str()));
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

/// Returns the last offset of each partition in the file, -1 if it is empty. Reads backwards, no further than needed.
async fn last_offsets(db: &Db) -> anyhow::Result<Vec<i64>> {
    let mut last_offsets = vec![-1; usize::try_from(PARTITIONS)?];
    let mut before = i64::MAX;
    while last_offsets.contains(&-1) {
        let batches = query(
            "select first, at, messages from batches where first < $1 order by first desc limit 16",
        );
        let batches = db.fetch_all(batches.bind(before)).await?;
        let Some(oldest) = batches.last() else { break };
        before = oldest.try_get(0)?;
        for row in batches {
            let batch = Batch::read(&row)?;
            for Delivery { position, .. } in batch.deliveries()? {
                let last = &mut last_offsets[usize::try_from(position.partition)?];
                *last = (*last).max(position.offset);
            }
        }
    }
    Ok(last_offsets)
}

#[cfg(test)]
mod tests;
