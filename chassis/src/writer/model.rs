//! What a service decides, as the writer sees it.

use crate::base::unavailable::Unavailable;
use crate::storage::Tx;
use common_events::Event;
use std::fmt;

/// What a service decides: its `domain.rs` and `store.rs` as the writer sees them.
pub trait Domain: Send + Sync + 'static {
    /// The rows that the commands of a batch name, in memory.
    type Batch: Send + Sync;
    /// What is asked. Cloned when a batch fails and is tried again.
    type Command: Clone + Send + Sync + 'static;
    /// What happened. Private to the service; [`Domain::published`] says what others hear of it.
    type Event: Send + Sync;
    /// What the caller of a command wants to know.
    type Answer: Send + 'static;
    /// Why the rules say no.
    type Refusal: fmt::Display + Send + 'static;

    /// Reads, and on Postgres locks in order, what the commands name.
    fn load(
        &self,
        tx: &mut Tx<'_>,
        commands: &[&Self::Command],
    ) -> impl Future<Output = anyhow::Result<Self::Batch>> + Send;

    /// The events that follow from `command`; none if its work is done already; or why it may not
    /// be. Pure.
    fn decide(
        batch: &Self::Batch,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// Folds one event in. Pure.
    fn evolve(batch: &mut Self::Batch, event: &Self::Event);

    /// What the caller of `command` is told, once its events are folded in; `new` says whether there
    /// were any. Pure.
    fn answer(batch: &Self::Batch, command: &Self::Command, new: bool) -> Self::Answer;

    /// Writes what changed, many rows a statement.
    fn save(
        &self,
        tx: &mut Tx<'_>,
        batch: &Self::Batch,
        events: &[Self::Event],
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Whether a batch with `command` may take minutes. Of another one the writer takes it that the server vanished.
    /// Pure.
    fn has_time(_command: &Self::Command) -> bool {
        false
    }

    /// What others hear, in order: each with the place in `events` of the one that caused it. Pure.
    fn published(batch: &Self::Batch, events: &[Self::Event]) -> Vec<(usize, Event)>;
}

/// Why a command was not carried out. It changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<R> {
    /// The rules say no.
    #[error("{0}")]
    Refused(R),
    /// The service cannot, now.
    #[error(transparent)]
    Unavailable(Unavailable),
}

pub(super) type Outcome<D> = Result<<D as Domain>::Answer, CommandError<<D as Domain>::Refusal>>;
