//! What the writer needs of a service.

use crate::base::unavailable::Unavailable;
use crate::model::Rules;
use crate::storage::Tx;

/// The rules of a service with the tables that they work on: its `domain.rs` and `store.rs` as the writer sees them.
pub trait WriteModel: Rules + Send + Sync + 'static {
    /// Reads, and on Postgres locks in order, what the commands name.
    fn load(
        &self,
        tx: &mut Tx<'_>,
        commands: &[&Self::Command],
    ) -> impl Future<Output = anyhow::Result<Self::State>> + Send;

    /// Writes what became of the state, many rows a statement.
    fn save(
        &self,
        tx: &mut Tx<'_>,
        state: &Self::State,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// True for a command that may take minutes. A batch without one is given up after 15 s: the server is then assumed to be
    /// gone. Pure.
    fn may_take_minutes(_command: &Self::Command) -> bool {
        false
    }
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

/// The reply to a command, or why it was not carried out.
pub(super) type Outcome<M> = Result<<M as Rules>::Reply, CommandError<<M as Rules>::Refusal>>;

/// Another replica was in the way of a batch: the same batch succeeds if it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConflictError(pub String);
