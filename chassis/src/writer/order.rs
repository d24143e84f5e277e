//! A command that waits for the writer, and who gets at it first: the writer, or its caller who gives up.

use crate::base::trace::Trace;
use crate::writer::model::{Outcome, WriteModel};
use common_events::Owner;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// What became of a command so far. It is taken or given up, never both.
#[derive(Debug)]
struct Claim {
    state: AtomicU8,
    since: Instant,
}

impl Claim {
    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::Acquire) == state
    }

    /// Whether it waited until now, and has the state from now on.
    fn becomes(&self, state: u8) -> bool {
        let exchanged =
            self.state.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire);
        exchanged.is_ok()
    }
}

/// A command on its way to the writer.
pub(super) struct Order<M: WriteModel> {
    pub(super) command: M::Command,
    /// The story that it belongs to.
    pub(super) trace: Option<Trace>,
    /// Who asks for it, for the audit log.
    pub(super) actor: Option<Owner>,
    /// Where its outcome goes.
    pub(super) answer: oneshot::Sender<Outcome<M>>,
    claim: Arc<Claim>,
}

impl<M: WriteModel> Order<M> {
    pub(super) fn new(
        command: M::Command,
        trace: Option<Trace>,
        actor: Option<Owner>,
        answer: oneshot::Sender<Outcome<M>>,
    ) -> Self {
        let claim = Claim { state: AtomicU8::new(WAITING), since: Instant::now() };
        Self { command, trace, actor, answer, claim: Arc::new(claim) }
    }

    /// Takes the command, so that its caller cannot give it up any more. Returns how long it waited.
    pub(super) fn take(&self) -> Option<Duration> {
        self.claim.becomes(TAKEN).then(|| self.claim.since.elapsed())
    }

    pub(super) fn is_taken(&self) -> bool {
        self.claim.is(TAKEN)
    }

    /// Whether its caller gave it up before it was taken: there is nothing to do.
    pub(super) fn is_given_up(&self) -> bool {
        self.claim.is(GIVEN_UP)
    }
}

/// The caller's end. Dropped, it gives the command up.
pub(super) struct Waits(Arc<Claim>);

impl Waits {
    pub(super) fn of<M: WriteModel>(order: &Order<M>) -> Self {
        Self(Arc::clone(&order.claim))
    }

    /// Gives the command up. Returns how long it waited, or nothing where the writer has taken it.
    pub(super) fn give_up(&self) -> Option<Duration> {
        self.0.becomes(GIVEN_UP).then(|| self.0.since.elapsed())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.give_up();
    }
}
