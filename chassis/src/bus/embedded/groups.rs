//! Who of a group reads which partition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The members of one group, and how often they changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    ids: Vec<u64>,
    generation: u64,
}

/// All groups of this process.
#[derive(Default)]
pub(super) struct Groups {
    next_id: std::sync::atomic::AtomicU64,
    groups: Mutex<HashMap<String, Arc<watch::Sender<Members>>>>,
}

impl Groups {
    pub(super) fn join(&self, group: &str) -> Member {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let members = Arc::clone(groups.entry(group.to_owned()).or_default());
        members.send_modify(|members| {
            members.ids.push(id);
            members.generation += 1;
        });
        Member { group: group.to_owned(), id, members, seen: 0 }
    }
}

/// One member. Dropping it hands its partitions to the others.
pub(super) struct Member {
    group: String,
    id: u64,
    members: Arc<watch::Sender<Members>>,
    seen: u64,
}

impl Member {
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    pub(super) fn watch(&self) -> watch::Receiver<Members> {
        self.members.subscribe()
    }

    /// Whether members came or went since this was asked last.
    pub(super) fn changed(&mut self) -> bool {
        let generation = self.members.borrow().generation;
        std::mem::replace(&mut self.seen, generation) != generation
    }

    /// Whether members came or went since [`Member::changed`] was asked last.
    pub(super) fn moved(&self) -> bool {
        self.members.borrow().generation != self.seen
    }

    /// Every n-th partition, for the n members.
    pub(super) fn partitions(&self, all: i32) -> Vec<i32> {
        let members = self.members.borrow();
        let place = members.ids.iter().position(|id| *id == self.id).unwrap_or_default();
        (0..all).skip(place).step_by(members.ids.len().max(1)).collect()
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
