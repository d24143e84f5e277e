//! The file of the embedded log: messages in the batches in which they came, and where each group is.

use crate::base::config::DatabaseUrl;
use crate::bus::embedded::partition::PARTITIONS;
use crate::bus::embedded::shared::{Positions, Shared, delivery};
use crate::bus::embedded::write::{self, Job};
use crate::bus::interface::{Delivery, Message, TopicPosition};
use crate::storage::{Db, Schema};
use sqlx::any::AnyRow;
use sqlx::{Executor, Row as _, query};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};

/// Batches are rows, as they are records in Kafka's log: what is sent together is written, and read from the file,
/// as one text. The view shows messages, for audits and for whoever looks into the file.
const TABLES: &str = "
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
/// Before 2026-11-25 each message was a row.
const WERE_ROWS: &str = "select 1 from sqlite_schema where type = 'table' and name = 'messages'";
const INTO_BATCHES: &str = "
    create table batches (first integer primary key, last bigint not null, at bigint not null, messages text not null);
    insert into batches select min(seq), max(seq), max(at),
        json_group_array(json_object('key', key, 'payload', payload, 'headers', json(headers)) order by seq)
        from messages group by seq / 500;
    drop table messages;
";
/// Rows that are read at once.
const PAGE: i64 = 64;

pub(super) struct Log {
    db: Db,
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

/// A batch as it is in the file.
struct Batch {
    first: i64,
    at: i64,
    messages: String,
}

impl Batch {
    fn read(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self { first: row.try_get(0)?, at: row.try_get(1)?, messages: row.try_get(2)? })
    }

    fn deliveries(&self) -> serde_json::Result<impl Iterator<Item = Delivery>> {
        let (first, at) = (self.first, self.at);
        let messages: Vec<Message> = serde_json::from_str(&self.messages)?;
        Ok((first..).zip(messages).map(move |(offset, message)| delivery(message, offset, at)))
    }
}

impl Log {
    pub(super) async fn open(file: &Path) -> anyhow::Result<Self> {
        let url = DatabaseUrl::of_file(file).map_err(anyhow::Error::msg)?;
        let db = Db::open(&url, &Schema::bare(&[])).await?;
        match Self::read_from(&db).await {
            Ok(shared) => {
                let shared = Arc::new(shared);
                let (jobs, inbox) = mpsc::channel(256);
                let written = shared.positions().clone(); // they may change before the task runs
                tokio::spawn(write::run(db.clone(), inbox, Arc::clone(&shared), written));
                Ok(Self { db, jobs, shared })
            }
            Err(error) => {
                db.close().await;
                Err(error.context(file.display().to_string()))
            }
        }
    }

    /// Makes the tables where they are missing, and reads where all ends.
    async fn read_from(db: &Db) -> anyhow::Result<Shared> {
        let were_rows = db.fetch_optional(query(WERE_ROWS)).await?.is_some();
        let mut tx = db.begin().await?;
        if were_rows {
            tx.execute(INTO_BATCHES).await?;
        }
        tx.execute(TABLES).await?;
        tx.commit().await?;
        let mut positions = Positions::new();
        let stored = "select consumer_group, partition, next from positions";
        for row in db.fetch_all(query(stored)).await? {
            let partition = i32::try_from(row.try_get::<i64, _>(1)?)?;
            positions.insert((row.try_get(0)?, partition), row.try_get(2)?);
        }
        let ends = ends(db).await?;
        Ok(Shared::new(ends, positions))
    }

    /// Appends in order; durable when it answers.
    pub(super) async fn append(&self, messages: Vec<Message>) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Append(messages, answer)).await?;
        Ok(answered.await??)
    }

    /// Up to `most` messages from offset `from` on that are `wanted`, and the offset from which to read next.
    pub(super) async fn read(
        &self,
        mut from: i64,
        most: usize,
        wanted: impl Fn(TopicPosition) -> bool,
    ) -> anyhow::Result<(Vec<Arc<Delivery>>, i64)> {
        let mut taken = Vec::new();
        while taken.len() < most {
            // Looked at again each time: what is read from the file meanwhile may be near the end now.
            if let Some(newest) = self.shared.tail().since(from) {
                for message in newest {
                    if taken.len() == most {
                        break;
                    }
                    from = message.place.offset + 1;
                    if wanted(message.place) {
                        taken.push(Arc::clone(message));
                    }
                }
                return Ok((taken, from));
            }
            for batch in self.batches(from, most - taken.len()).await? {
                let begin = from;
                for delivery in batch.deliveries()?.skip_while(|one| one.place.offset < begin) {
                    if taken.len() == most {
                        return Ok((taken, from));
                    }
                    from = delivery.place.offset + 1;
                    if wanted(delivery.place) {
                        taken.push(Arc::new(delivery));
                    }
                }
            }
        }
        Ok((taken, from))
    }

    /// Batches in the file, from the one on that has offset `from`, until they have `most` messages; one at least.
    async fn batches(&self, from: i64, most: usize) -> sqlx::Result<Vec<Batch>> {
        // How many they hold is summed up first, so that no more text is read than is taken; each holds one at least. It
        // is read as it is: in JSON it would be escaped once more.
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
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = self.db.fetch_all(batches.bind(from).bind(most)).await?;
        rows.iter().map(Batch::read).collect()
    }

    /// All messages, oldest first.
    pub(super) async fn all(&self) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let batches = query(
                "select first, at, messages, last from batches where first >= $1 order by first limit $2",
            );
            let rows = self.db.fetch_all(batches.bind(from).bind(PAGE)).await?;
            let Some(last) = rows.last() else { return Ok(all) };
            from = last.try_get::<i64, _>(3)? + 1;
            for row in &rows {
                all.extend(Batch::read(row)?.deliveries()?.map(Arc::new));
            }
        }
    }

    /// The last offset of a partition, -1 for none.
    pub(super) fn end_of(&self, partition: i32) -> i64 {
        self.shared.end(partition).load(Ordering::Acquire)
    }

    /// The offset of the next message, of whatever partition.
    pub(super) fn end(&self) -> i64 {
        self.shared.next()
    }

    /// The next offset for a group.
    pub(super) fn next_of(&self, group: &str, partition: i32) -> i64 {
        self.shared.positions().get(&(group.to_owned(), partition)).copied().unwrap_or_default()
    }

    /// Messages after the last that `group` has done: what it has left, where it has one member, which does them in order.
    pub(super) fn lag(&self, group: &str) -> i64 {
        // Offsets count the messages of all partitions.
        let end = (0..PARTITIONS).map(|partition| self.end_of(partition) + 1).max();
        let next = (0..PARTITIONS).map(|partition| self.next_of(group, partition)).max();
        (end.unwrap_or_default() - next.unwrap_or_default()).max(0)
    }

    /// Moves a group on, never back. Written with the next messages or after a moment.
    pub(super) fn commit(&self, group: &str, ends: &HashMap<i32, i64>) {
        let mut positions = self.shared.positions();
        for (&partition, &end) in ends {
            let next = positions.entry((group.to_owned(), partition)).or_default();
            *next = (*next).max(end);
        }
    }

    /// Forgets where groups are that are none of `groups`. Written with the next messages or after a moment.
    pub(super) fn keep_groups(&self, groups: &[&str]) {
        self.shared.positions().retain(|(group, _), _| groups.contains(&group.as_str()));
    }

    /// Resolves at the next append after this call.
    pub(super) fn appended(&self) -> impl Future<Output = ()> + use<> {
        self.shared.appended()
    }

    /// Writes the positions.
    pub(super) async fn flush(&self) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Flush(answer)).await?;
        Ok(answered.await?)
    }

    pub(super) async fn close(&self) {
        let _ = self.flush().await;
        self.db.close().await;
    }
}

/// The last offset of each partition in the file, -1 for none. Looks from the end on, no further than it must.
async fn ends(db: &Db) -> anyhow::Result<Vec<i64>> {
    let mut ends = vec![-1; usize::try_from(PARTITIONS)?];
    let mut before = i64::MAX;
    while ends.contains(&-1) {
        let batches = query(
            "select first, at, messages from batches where first < $1 order by first desc limit 16",
        );
        let batches = db.fetch_all(batches.bind(before)).await?;
        let Some(oldest) = batches.last() else { break };
        before = oldest.try_get(0)?;
        for row in batches {
            let batch = Batch::read(&row)?;
            for Delivery { place, .. } in batch.deliveries()? {
                let end = &mut ends[usize::try_from(place.partition)?];
                *end = (*end).max(place.offset);
            }
        }
    }
    Ok(ends)
}

#[cfg(test)]
mod tests;
