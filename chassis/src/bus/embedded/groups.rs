//! Consumer groups: which member reads which partition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The members of a group, and the number of changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    ids: Vec<u64>,
    generation: u64,
}

/// The consumer groups of this process.
#[derive(Default)]
pub(super) struct Groups {
    next_id: std::sync::atomic::AtomicU64,
    groups: Mutex<HashMap<String, Arc<watch::Sender<Members>>>>,
}

impl Groups {
    /// Adds a member to a group.
    pub(super) fn join(&self, group: &str) -> Member {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let members = Arc::clone(groups.entry(group.to_owned()).or_default());
        members.send_modify(|members| {
            members.ids.push(id);
            members.generation += 1;
        });
        Member { group: group.to_owned(), id, members, seen_generation: 0 }
    }
}

/// A member of a group. Dropping it gives its partitions to the other members.
pub(super) struct Member {
    group: String,
    id: u64,
    members: Arc<watch::Sender<Members>>,
    /// The generation of the current assignment.
    seen_generation: u64,
}

impl Member {
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Returns a receiver of the changes of the group.
    pub(super) fn watch(&self) -> watch::Receiver<Members> {
        self.members.subscribe()
    }

    /// Returns true if members joined or left since the last call, and takes the new generation.
    pub(super) fn take_change(&mut self) -> bool {
        let generation = self.members.borrow().generation;
        std::mem::replace(&mut self.seen_generation, generation) != generation
    }

    /// Returns true if members joined or left since the last call of [`Member::take_change`].
    pub(super) fn has_changed(&self) -> bool {
        self.members.borrow().generation != self.seen_generation
    }

    /// Returns the partitions of this member out of `count`: every n-th, for n members.
    pub(super) fn partitions(&self, count: i32) -> Vec<i32> {
        let members = self.members.borrow();
        let index = members.ids.iter().position(|id| *id == self.id).unwrap_or_default();
        (0..count).skip(index).step_by(members.ids.len().max(1)).collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.members.send_modify(|members| {
            members.ids.retain(|id| *id != self.id);
            members.generation += 1;
        });
    }
}
