//! How many writes a second somebody may make: the setting `RATE_LIMIT_WRITES`.

use crate::auth::Principal;
use crate::base::i18n::Text;
use crate::base::metrics::{Counter, Metrics};
use crate::base::problem::{Problem, kind};
use crate::http::caller::Caller;
use crate::http::caller_rate::{CallerRate, whole_seconds};
use axum::http::Method;
use axum::http::request::Parts;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The writes of a second may be made at once.
const BURST: Duration = Duration::from_secs(1);

/// The bound on the writes of each client. Clones share it.
#[derive(Clone)]
pub(crate) struct WriteRate(Arc<Shared>);

struct Shared {
    per_second: NonZeroU32,
    /// How many replicas take writes: each allows its part.
    replicas: AtomicU32,
    rate: CallerRate,
    refused: Counter,
}

impl WriteRate {
    /// Returns a bound of `per_second` writes, or `None` for any number. Registers its metric.
    pub(crate) fn new(per_second: Option<NonZeroU32>, metrics: &Metrics) -> Option<Self> {
        let refused = Counter::default();
        metrics.register(
            "writes_refused_by_rate",
            "Writes refused with 429 since their client made too many",
            refused.clone(),
        );
        let per_second = per_second?;
        let replicas = AtomicU32::new(1);
        let rate = CallerRate::default();
        Some(Self(Arc::new(Shared { per_second, replicas, rate, refused })))
    }

    /// Sets how many replicas share the bound.
    pub(crate) fn share_among(&self, replicas: u32) {
        self.0.replicas.store(replicas.max(1), Ordering::Relaxed);
    }

    /// Counts a request, if it is a write, to who makes it.
    ///
    /// # Errors
    /// 429 if they made too many.
    pub(crate) fn check(
        &self,
        request: &Parts,
        principal: Option<&Principal>,
    ) -> Result<(), Problem> {
        if !is_write(&request.method) {
            return Ok(());
        }
        let counted = match Caller::of(request, principal) {
            Caller::Unknown => Ok(()),
            client => self.count(client, Instant::now()),
        };
        counted.map_err(|wait| {
            self.0.refused.inc();
            too_many(whole_seconds(wait))
        })
    }

    /// Counts a write of a client at the moment `now`. Returns how long the client has to wait if it made too many.
    fn count(&self, client: Caller, now: Instant) -> Result<(), Duration> {
        let replicas = self.0.replicas.load(Ordering::Relaxed);
        let pays_for = BURST * replicas / self.0.per_second.get();
        self.0.rate.count(client, pays_for, BURST, now)
    }
}

fn is_write(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
}

fn too_many(seconds: u16) -> Problem {
    let text = Text::fixed(
        "you changed too much in a short time; nothing was done; wait a moment",
        "짧은 시간에 요청이 너무 많았습니다. 처리되지 않았으니 잠시 후 다시 시도해 주세요",
    );
    Problem::new(kind::TOO_MANY, text).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::caller_rate::CLIENTS_KEPT;
    use std::net::IpAddr;

    fn rate(per_second: u32) -> WriteRate {
        WriteRate::new(NonZeroU32::new(per_second), &Metrics::default()).unwrap()
    }

    fn client(number: u32) -> Caller {
        Caller::Address(IpAddr::V4(number.into()))
    }

    /// Returns how many writes are taken of one client that makes one each millisecond.
    fn taken(rates: &[&WriteRate], began: Instant, milliseconds: u32) -> usize {
        let moments = (0..milliseconds).map(|passed| began + Duration::from_millis(passed.into()));
        let each = moments.flat_map(|now| rates.iter().map(move |rate| (rate, now)));
        each.filter(|(rate, now)| rate.count(client(1), *now).is_ok()).count()
    }

    #[test]
    fn a_second_s_writes_may_come_at_once_and_then_the_rate_holds() {
        let (rate, began) = (rate(20), Instant::now());
        for _ in 0..20 {
            assert_eq!(rate.count(client(1), began), Ok(()));
        }
        assert_eq!(rate.count(client(1), began), Err(Duration::from_millis(50)));
        assert_eq!(rate.count(client(2), began), Ok(()), "others are not harmed");
        assert_eq!(rate.count(client(1), began + Duration::from_millis(50)), Ok(()));
        let later = began + Duration::from_mins(1);
        assert_eq!(taken(&[&rate], later, 10_000), 20 + 199);
    }

    #[test]
    fn replicas_share_the_rate() {
        let (one, other, began) = (rate(20), rate(20), Instant::now());
        for rate in [&one, &other] {
            rate.share_among(2);
        }
        let both = taken(&[&one, &other], began, 10_000);
        assert!((200..=220).contains(&both), "{both} in 10 s");
        for rate in [&one, &other] {
            rate.share_among(100);
        }
        let later = began + Duration::from_mins(1);
        assert_eq!(taken(&[&one], later, 10_000), 2, "one each 5 s");
    }

    #[test]
    fn a_change_of_the_replicas_forgets_nothing() {
        let (rate, began) = (rate(20), Instant::now());
        assert_eq!(taken(&[&rate], began, 1), 1);
        for _ in 0..19 {
            assert!(rate.count(client(1), began).is_ok());
        }
        rate.share_among(2);
        assert!(rate.count(client(1), began).is_err());
        rate.share_among(1);
        assert!(rate.count(client(1), began).is_err());
    }

    #[test]
    fn clients_that_have_paid_are_forgotten() {
        let (rate, began) = (rate(20), Instant::now());
        for number in 0..100_000 {
            let now = began + Duration::from_millis(number.into());
            assert!(rate.count(client(number), now).is_ok());
        }
        let clients = rate.0.rate.clients();
        assert!(clients <= CLIENTS_KEPT + 1, "{clients}");
    }
}
