//! Building the view again from the topic, while customers look and live events come.
//!
//! A new table is filled beside the old one, from the oldest event on. Live events go into both meanwhile. Then the new
//! table replaces the old one, in one transaction. A view keeps its id, so that links to it stay valid. A view of which the
//! topic no longer holds all events stays as it was. If the database fails meanwhile, the rebuild waits. A crash leaves the
//! old table as it is; begin again.

use crate::app::ViewModel;
use crate::policy;
use crate::projection::Command;
use anyhow::bail;
use chassis::base::limits::EVENT_TRIES_MAX;
use chassis::base::pace::Backoff;
use chassis::base::progress::{Progress, Snapshot};
use chassis::base::unavailable::Unavailable;
use chassis::mailbox::AuditLog;
use chassis::model::AuditedChange;
use chassis::workers::Replays;
use chassis::writer::{CommandError, Writer};
use common_events::Owner;
use serde::Serialize;
use std::sync::{Arc, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tracing::{debug, error, info};
use uuid::Uuid;

/// What a rebuild needs.
#[derive(Clone)]
pub struct Rebuild {
    replays: Arc<Replays>,
    writer: Writer<ViewModel>,
    audit: AuditLog,
    /// That of the workers: the thread of the connection that asks for it serves others meanwhile.
    runtime: Handle,
    /// Held while one runs in this process.
    running: Arc<Mutex<()>>,
    /// How far the one is that runs in this process.
    progress: Arc<std::sync::Mutex<Option<Arc<Progress>>>>,
}

/// A rebuild that is done.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuilt {
    /// Events that were read.
    pub events: usize,
    /// How long that took.
    pub seconds: u64,
    /// Messages a second.
    pub per_second: u64,
}

/// The service stops before the view is rebuilt. The old one stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service is stopping")]
pub struct Stopping;

impl Rebuild {
    /// Returns a rebuild that reads from `replays` and writes through `writer`.
    pub fn new(replays: Replays, writer: Writer<ViewModel>, audit: AuditLog) -> Self {
        Self {
            replays: Arc::new(replays),
            writer,
            audit,
            runtime: Handle::current(),
            running: Arc::default(),
            progress: Arc::default(),
        }
    }

    /// Returns how far the rebuild is that runs in this process, or `None` if none does.
    pub fn progress(&self) -> Option<Snapshot> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.as_ref().map(|progress| progress.snapshot())
    }

    fn set_progress(&self, progress: Option<Arc<Progress>>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Rebuilds the view for `actor`. Returns what it took, or `None` if a rebuild is running already. It goes on if nobody waits
    /// for it.
    pub async fn start(&self, actor: &Owner) -> anyhow::Result<Option<Rebuilt>> {
        let Ok(guard) = Arc::clone(&self.running).try_lock_owned() else { return Ok(None) };
        let (rebuild, actor) = (self.clone(), actor.clone());
        let task = self.runtime.spawn(async move {
            let _guard = guard;
            let stop = rebuild.replays.stopping();
            let progress = Arc::new(Progress::new("rebuilding the view"));
            rebuild.set_progress(Some(Arc::clone(&progress)));
            let outcome = stop.run_until_cancelled(rebuild.run(&actor, &progress)).await;
            rebuild.set_progress(None);
            let outcome = outcome.unwrap_or_else(|| Err(anyhow::Error::new(Stopping)));
            match &outcome {
                Ok(Rebuilt { events, seconds, per_second }) => {
                    info!(events, seconds, per_second, "rebuilt the view");
                }
                Err(error) => error!(error = format!("{error:#}"), "could not rebuild the view"),
            }
            outcome
        });
        Ok(Some(task.await??))
    }

    async fn run(&self, actor: &Owner, progress: &Progress) -> anyhow::Result<Rebuilt> {
        self.audit.record(actor, AuditedChange::of("rebuild", "the view")).await?;
        let token = Uuid::new_v4().to_string();
        self.execute(&[Command::BeginRebuild { token: token.clone() }]).await?;
        let mut replay = self.replays.open().await?;
        let mut count = 0;
        let reached = |(done, total)| progress.reached(done, total);
        reached(replay.progress());
        while let Some(events) = replay.next().await? {
            count += events.len();
            let facts = events.iter().filter_map(|(envelope, at)| policy::fact(envelope, *at));
            let replayed = facts.map(|fact| Command::Replayed { token: token.clone(), fact });
            self.execute(&replayed.collect::<Vec<_>>()).await?;
            reached(replay.progress());
        }
        self.execute(&[Command::FinishRebuild { token }]).await?;
        let Snapshot { seconds, per_second, .. } = progress.snapshot();
        Ok(Rebuilt { events: count, seconds, per_second })
    }

    /// Has the writer carry out commands, however long they wait for it. While the database fails, it tries them again:
    /// those that were carried out before change nothing then.
    ///
    /// # Errors
    /// If a command is refused, or fails [`EVENT_TRIES_MAX`] times although the database works. The rebuild ends, and the old table stays
    /// as it is.
    async fn execute(&self, commands: &[Command]) -> anyhow::Result<()> {
        let (mut failures, mut backoff) = (0, Backoff::default());
        loop {
            let untraced = commands.iter().map(|command| (command.clone(), None));
            let outcomes = self.writer.execute_all(untraced.collect::<Vec<_>>()).await;
            let Some(error) = outcomes.into_iter().find_map(Result::err) else { return Ok(()) };
            let unavailable = match error {
                CommandError::Unavailable(unavailable) => unavailable,
                refused @ CommandError::Refused(_) => bail!(refused.to_string()),
            };
            failures += u32::from(unavailable == Unavailable::Failed);
            if failures == EVENT_TRIES_MAX {
                return Err(unavailable.into());
            }
            debug!(%unavailable, failures, "a rebuild waits, and tries again");
            backoff.wait().await;
        }
    }
}
