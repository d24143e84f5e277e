//! Tokens that were checked lately: a signature takes longer than all else that a request needs before its service.

use crate::auth::Principal;
use crate::base::limits::TOKEN_BELIEVED_FOR;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// Tokens in one part of the cache.
const TOKENS_MAX: usize = 1_024;
/// Parts, each with its own lock.
const PARTS: usize = 16;

type Hash = [u8; 32];

/// Tokens that were checked, by their SHA-256.
pub(super) struct Cache(Vec<Mutex<HashMap<Hash, Checked>>>);

struct Checked {
    principal: Principal,
    until: SystemTime,
    at: Instant,
    /// Of the keys that it was checked with.
    generation: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }
}

impl Cache {
    /// Returns the hash of a token.
    pub(super) fn hash(token: &str) -> Hash {
        Sha256::digest(token).into()
    }

    /// Returns whose token it is, if it was checked with these keys and has not expired since.
    pub(super) fn get(&self, hash: &Hash, generation: u64) -> Option<Principal> {
        let mut part = self.part(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let checked = part.get(hash)?;
        let holds = checked.generation == generation
            // By the monotonic clock: a wall clock that was put back keeps none for long.
            && checked.at.elapsed() < TOKEN_BELIEVED_FOR
            && SystemTime::now() < checked.until;
        if holds {
            return Some(checked.principal.clone());
        }
        part.remove(hash);
        None
    }

    /// Keeps a token that was checked, until it expires.
    pub(super) fn put(&self, hash: Hash, principal: Principal, until: SystemTime, generation: u64) {
        let mut part = self.part(&hash).lock().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= TOKENS_MAX {
            let now = SystemTime::now();
            part.retain(|_, checked| now < checked.until && checked.generation == generation);
            if part.len() >= TOKENS_MAX {
                part.clear();
            }
        }
        part.insert(hash, Checked { principal, until, at: Instant::now(), generation });
    }

    fn part(&self, hash: &Hash) -> &Mutex<HashMap<Hash, Checked>> {
        &self.0[usize::from(hash[0]) % PARTS]
    }
}
