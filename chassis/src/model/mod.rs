//! What a service's rules are written with. Pure: no clock, no database, no network.

mod ids;
mod publications;
mod tracked;

pub use ids::Ids;
pub use publications::{AuditedChange, Publications};
pub use tracked::Tracked;

use std::fmt;

/// The rules of a service: what a command does to the rows that it names.
pub trait Rules {
    /// The rows that the commands of a batch name, in memory.
    type State: Send + Sync;
    /// What can be asked for. Cloned when a batch fails and is tried again.
    type Command: Clone + Send + Sync + 'static;
    /// What the caller of a command is told.
    type Reply: Send + 'static;
    /// Why a command is refused.
    type Refusal: fmt::Display + Send + 'static;

    /// Carries out `command`: changes `state`, publishes what other services must hear, and replies.
    ///
    /// A command that finds its work done changes nothing and replies all the same, so that one that comes twice is
    /// harmless. Pure.
    ///
    /// # Errors
    /// A refusal leaves `state` as it was and publishes nothing: `testing::refusals_change_nothing` checks that.
    fn handle(
        state: &mut Self::State,
        command: &Self::Command,
        out: &mut Publications,
    ) -> Result<Self::Reply, Self::Refusal>;
}

/// The reply or the refusal of a command.
pub type Outcome<R> = Result<<R as Rules>::Reply, <R as Rules>::Refusal>;

/// Carries out commands in order. Returns the outcome of each, and what they publish.
pub fn handle_all<'c, R: Rules>(
    state: &mut R::State,
    commands: impl IntoIterator<Item = &'c R::Command>,
) -> (Vec<Outcome<R>>, Publications)
where
    R::Command: 'c,
{
    let mut out = Publications::default();
    let handle = |(number, command)| {
        out.begin(number);
        R::handle(state, command, &mut out)
    };
    let outcomes = commands.into_iter().enumerate().map(handle).collect();
    (outcomes, out)
}
