//! How many event streams one client has open: the setting `STREAMS_PER_CLIENT_MAX`, of which each replica has its part.

use crate::base::i18n::Text;
use crate::base::metrics::{Counter, Metrics};
use crate::base::problem::{Problem, kind};
use crate::base::replicas::Replicas;
use crate::http::caller::Caller;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// When a client that was refused may try again.
const RETRY_AFTER_SECONDS: u16 = 5;

/// The bound on the streams of each client. Clones share it.
#[derive(Clone)]
pub(super) struct StreamsOfClients(Arc<Shared>);

struct Shared {
    /// `None` means any number.
    max: Option<NonZeroUsize>,
    replicas: Replicas,
    /// How many each has. Who has none is not there.
    open: Mutex<HashMap<Caller, usize>>,
    refused: Counter,
}

/// One stream of a client. Dropping it ends the stream in the count.
pub(super) struct Counted {
    shared: Arc<Shared>,
    client: Caller,
}

impl StreamsOfClients {
    /// Returns a bound of `max` streams of each client at all replicas together. Registers its metric.
    pub(super) fn new(max: Option<NonZeroUsize>, replicas: Replicas, metrics: &Metrics) -> Self {
        let refused = Counter::default();
        metrics.register(
            "event_streams_refused_by_client",
            "Event streams refused with 429 since their client has too many open",
            refused.clone(),
        );
        Self(Arc::new(Shared { max, replicas, open: Mutex::default(), refused }))
    }

    /// Counts one more stream of a client. Returns `None` where nobody counts.
    ///
    /// # Errors
    /// 429 if they have too many.
    pub(super) fn count(&self, client: Caller) -> Result<Option<Counted>, Problem> {
        let Some(max) = self.0.max.filter(|_| client != Caller::Unknown) else { return Ok(None) };
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = open.entry(client.clone()).or_default();
        if *streams >= self.0.replicas.part_of(max.get()) {
            self.0.refused.inc();
            let text = Text::fixed(
                "you have too many event streams open; close a page, or read the list instead",
                "열려 있는 실시간 연결이 너무 많습니다. 다른 창을 닫거나 목록을 조회해 주세요",
            );
            return Err(Problem::new(kind::TOO_MANY, text).retry_after(RETRY_AFTER_SECONDS));
        }
        *streams += 1;
        Ok(Some(Counted { shared: Arc::clone(&self.0), client }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(streams) = open.get_mut(&self.client) {
            *streams -= 1;
            if *streams == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn client(number: u32) -> Caller {
        Caller::Address(IpAddr::V4(number.into()))
    }

    #[test]
    fn each_client_has_so_many_streams_and_is_forgotten_after_the_last() {
        let max = NonZeroUsize::new(2);
        let streams = StreamsOfClients::new(max, Replicas::default(), &Metrics::default());
        let mut held = Vec::new();
        for number in [1, 1, 2, 2] {
            held.push(streams.count(client(number)).unwrap().unwrap());
        }
        assert!(streams.count(client(1)).is_err() && streams.count(client(2)).is_err());
        drop(held.remove(0));
        held.push(streams.count(client(1)).unwrap().unwrap());
        assert!(streams.count(client(1)).is_err());
        assert_eq!(streams.0.open.lock().unwrap().len(), 2);
        drop(held);
        assert_eq!(streams.0.open.lock().unwrap().len(), 0);
        assert_eq!(streams.0.refused.get(), 3);
    }

    #[test]
    fn a_replica_has_its_part_of_the_streams() {
        let replicas = Replicas::default();
        let max = NonZeroUsize::new(5);
        let streams = StreamsOfClients::new(max, replicas.clone(), &Metrics::default());
        let open = || {
            let held: Vec<_> = (0..9).filter_map(|_| streams.count(client(1)).ok()).collect();
            held.len()
        };
        for (running, part) in [(1, 5), (2, 3), (3, 2), (9, 1), (0, 5)] {
            replicas.set(running);
            assert_eq!(open(), part, "of {running} replicas");
        }
    }

    #[test]
    fn without_a_bound_nobody_is_counted() {
        let streams = StreamsOfClients::new(None, Replicas::default(), &Metrics::default());
        let held: Vec<_> = (0..100).map(|_| streams.count(client(1)).unwrap()).collect();
        assert!(held.iter().all(Option::is_none));
    }
}
