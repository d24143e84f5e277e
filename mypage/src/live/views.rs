//! `GET /mypages/stream`: the views that change.
//!
//! The writer numbers the batches that change views (table `changes`), and the number is the position of a stream. One task
//! reads the batches that are new, whichever replica wrote them, and their views as they are then. So a stream tells states:
//! it may skip one between two others, and tell one twice, and a client keeps the one with the highest version.

use crate::live::missed::{CHANGES_READ, VIEWS_READ, changed_since, write_missed};
pub use crate::live::view_streams::Interest;
use crate::live::view_streams::ViewStreams;
use crate::live::watchers::{Watcher, Watchers, begun};
use crate::projection::View;
use crate::store::{self, Change};
use axum::body::Bytes;
use chassis::base::metrics::Counter;
use chassis::base::pace::Backoff;
use chassis::base::unavailable::Unavailable;
use chassis::http::BaseUrl;
use chassis::http::event_stream::{reset, write_event};
use chassis::listing::Scope;
use chassis::storage::Db;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// How often changes are read while somebody watches: other replicas make some as well. Much shorter than what people notice.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After how many reads without a change it is checked that the numbers did not go back: the database may be an older one.
const READS_BETWEEN_CHECKS: u32 = 50;
/// Views that a stream begins with.
const NEWEST: u8 = 20;

/// Writes a view as JSON, with links that begin with the base URL of the client.
pub type Render = fn(&BaseUrl, &View) -> String;

/// Hands the views that change to the streams.
pub struct ViewFeed {
    db: Db,
    render: Render,
    slow: Counter,
    watchers: Arc<Watchers>,
    state: Mutex<ViewStreams>,
    /// True while `ViewStreams::position` is known. Changed with it.
    started: watch::Sender<bool>,
}

/// A stream that is being told. Dropping it ends that.
pub struct Watching {
    feed: Arc<ViewFeed>,
    key: u64,
    /// The change up to which its frames tell nothing.
    position: i64,
    _watcher: Watcher,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.feed.lock().remove(self.key);
    }
}

impl Watching {
    /// Returns a comment, with the position up to which this stream has got everything that it waits for.
    pub fn heartbeat(&self) -> String {
        let position = self.feed.lock().position_of(self.key).unwrap_or(self.position);
        format!(": heartbeat\nid: {position}\n\n")
    }
}

impl ViewFeed {
    /// Returns a feed of the views in `db`. Counts the clients that were too slow in `slow`. [`ViewFeed::run`] must run.
    pub fn new(db: Db, render: Render, slow: Counter) -> Arc<Self> {
        let (watchers, state) = (Arc::default(), Mutex::default());
        let started = watch::Sender::new(false);
        Arc::new(Self { db, render, slow, watchers, state, started })
    }

    fn lock(&self) -> MutexGuard<'_, ViewStreams> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to tell a stream. Returns it with its frames.
    ///
    /// # Errors
    /// The database does not answer within the patience of the request.
    pub async fn watch(
        self: &Arc<Self>,
        interest: Interest,
        base: BaseUrl,
    ) -> Result<(Watching, mpsc::Receiver<Bytes>), Unavailable> {
        let watcher = self.watchers.enter();
        loop {
            begun(&self.started).await?;
            let mut state = self.lock();
            let Some(position) = state.position else { continue }; // it stopped in between
            let (key, frames) = state.add(interest, base);
            drop(state);
            let feed = Arc::clone(self);
            return Ok((Watching { feed, key, position, _watcher: watcher }, frames));
        }
    }

    /// Returns what a stream begins with: what changed since the event `last` that its client has seen, or the newest views.
    pub async fn catch_up(
        &self,
        watching: &Watching,
        interest: &Interest,
        base: &BaseUrl,
        last: Option<&str>,
    ) -> sqlx::Result<String> {
        let position = watching.position;
        let mut text = String::new();
        if let Some(last) = last {
            let last = last.parse().ok();
            if let Some((last, changed)) = changed_since(&self.db, last, position).await? {
                let is_wanted =
                    |cart: &i64| interest.carts.as_ref().is_none_or(|carts| carts.contains(cart));
                let carts: Vec<i64> = changed.keys().copied().filter(is_wanted).collect();
                let views = store::of_carts(&self.db, &interest.scope, &carts).await?;
                let render = |view: &View| (self.render)(base, view);
                write_missed(&mut text, render, &views, &changed, position.max(last));
                return Ok(text);
            }
            text = reset();
        }
        let views = match &interest.carts {
            None => store::newest(&self.db, &interest.scope, NEWEST.into()).await?,
            Some(carts) => {
                let carts: Vec<i64> = carts.iter().copied().collect();
                store::of_carts(&self.db, &interest.scope, &carts).await?
            }
        };
        self.write(&mut text, base, &Vec::from_iter(&views), 0, position);
        Ok(text)
    }

    /// Writes an event for each view. The last one leads to the position `to`, and those before it leave the client at `from`:
    /// it has not seen everything before the last one.
    fn write(&self, text: &mut String, base: &BaseUrl, views: &[&View], from: i64, to: i64) {
        let (from, to) = (from.to_string(), to.to_string());
        for (index, view) in views.iter().enumerate() {
            let id = if index + 1 == views.len() { &to } else { &from };
            write_event(text, id, "mypage", &(self.render)(base, view));
        }
        if views.is_empty() {
            let _ = write!(text, "id: {to}\n\n");
        }
    }

    /// Reads what changes and tells the streams, while there are any.
    pub async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        self.db.ready().await;
        loop {
            self.watchers.some().await;
            let Ok(position) = store::last_change(&self.db).await else {
                backoff.wait().await;
                continue;
            };
            backoff = Backoff::default();
            self.begin(position);
            self.follow(position).await;
        }
    }

    /// Tells the streams what changes after `position`, until there are none.
    async fn follow(&self, mut position: i64) {
        let (mut backoff, mut idle_reads) = (Backoff::default(), 0);
        let mut nobody = pin!(self.watchers.none());
        loop {
            tokio::select! {
                () = &mut nobody => {
                    if self.stopped() {
                        return;
                    }
                    nobody.set(self.watchers.none());
                }
                () = sleep(POLL_INTERVAL) => {}
            }
            let read = match self.round(position, &mut idle_reads).await {
                Ok(now) => {
                    position = now;
                    self.tell_all().await
                }
                Err(error) => Err(error),
            };
            match read {
                Ok(()) => backoff = Backoff::default(),
                Err(_) => backoff.wait().await, // logged once by `Db`
            }
        }
    }

    /// Reads what changed after `position`, and tells the streams. Returns the new position.
    async fn round(&self, position: i64, idle_reads: &mut u32) -> sqlx::Result<i64> {
        let mut read = position;
        loop {
            let changes = store::changes_after(&self.db, read, CHANGES_READ).await?;
            if changes.is_empty() {
                *idle_reads += 1;
                if *idle_reads >= READS_BETWEEN_CHECKS {
                    *idle_reads = 0;
                    let last = store::last_change(&self.db).await?;
                    if last < read {
                        self.reset(last);
                        return Ok(last);
                    }
                }
                return Ok(read);
            }
            let Some((to, carts)) = consecutive(read, &changes) else {
                let last = store::last_change(&self.db).await?;
                self.reset(last);
                return Ok(last);
            };
            let views = store::of_carts(&self.db, &Scope::All, &Vec::from_iter(carts)).await?;
            self.tell(read, to, views);
            read = to;
        }
    }

    /// Hands to each stream the views that it waits for, which changed between the positions `from` and `to`.
    fn tell(&self, from: i64, to: i64, views: Vec<View>) {
        let frame = |base: &BaseUrl, views: &[&View]| self.frame(base, views, from, to);
        let slow = self.lock().tell(to, views, &frame);
        self.slow.inc_by(slow);
    }

    /// Hands to the streams that wait for everything what the budget pays for.
    async fn tell_all(&self) -> sqlx::Result<()> {
        for (scope, position) in self.tell_waiting() {
            let views = store::newest(&self.db, &scope, NEWEST.into()).await?;
            self.begin_anew(&scope, position, &views);
        }
        Ok(())
    }

    /// Hands to the streams that wait for everything what they wait for. Returns those that are to begin anew instead, by what
    /// they see, with the position.
    fn tell_waiting(&self) -> Vec<(Scope, i64)> {
        let mut streams = self.lock();
        let slow = streams.tell_all(|base, views, from, to| self.frame(base, views, from, to));
        self.slow.inc_by(slow);
        let Some(position) = streams.position else { return vec![] };
        let anew = streams.begin_anew_now(NEWEST.into());
        anew.into_iter().map(|scope| (scope, position)).collect()
    }

    /// Lets the streams that wait for everything in `scope` begin anew with `views`, which were read after `position` was.
    fn begin_anew(&self, scope: &Scope, position: i64, views: &[View]) {
        let views = Vec::from_iter(views);
        let frame = |base: &BaseUrl| {
            let mut text = reset();
            self.write(&mut text, base, &views, 0, position);
            Bytes::from(text)
        };
        let slow = self.lock().begin_anew(scope, position, &frame);
        self.slow.inc_by(slow);
    }

    fn frame(&self, base: &BaseUrl, views: &[&View], from: i64, to: i64) -> Bytes {
        let mut text = String::new();
        self.write(&mut text, base, views, from, to);
        Bytes::from(text)
    }

    /// Ends all streams: their clients begin anew.
    fn reset(&self, position: i64) {
        let mut streams = self.lock();
        streams.clear();
        streams.begin(position);
    }

    fn begin(&self, position: i64) {
        let mut streams = self.lock();
        streams.begin(position);
        self.started.send_replace(true);
    }

    /// Stops, unless there are streams. Returns true if it did.
    fn stopped(&self) -> bool {
        let mut state = self.lock();
        if state.is_empty() {
            state.position = None;
            self.started.send_replace(false);
        }
        state.is_empty()
    }
}

/// Returns the carts of as many of `changes`, which follow `read`, as are read at once, and the last of those changes. `None`
/// if one is missing, or changed any view.
fn consecutive(read: i64, changes: &[Change]) -> Option<(i64, BTreeSet<i64>)> {
    let (mut to, mut carts) = (read, BTreeSet::new());
    for change in changes {
        if carts.len() >= VIEWS_READ {
            break;
        }
        carts.extend(change.carts().filter(|_| change.seq == to + 1)?);
        to = change.seq;
    }
    Some((to, carts))
}
