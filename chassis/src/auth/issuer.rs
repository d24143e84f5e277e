//! The keys of an issuer, looked up when they are needed.
//!
//! A token with an unknown key leads to one look, whoever sends how many: looks are made by one task at a time, and not more
//! often than every [`LOOK_INTERVAL`]. The keys that are known stay while the issuer is away.

use crate::auth::discovery::Discovery;
use crate::auth::https::HttpsClient;
use crate::auth::keys::KeySet;
use crate::base::metrics::{Counter, Gauge, Metrics};
use crate::base::outage::Outage;
use anyhow::{Context, ensure};
use jsonwebtoken::{Algorithm, DecodingKey};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// The least time between two looks at the keys because of a key that is not known.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often the keys are looked at anyhow, so that one that the issuer withdrew is forgotten.
const REFRESH_INTERVAL: Duration = Duration::from_mins(5);
/// How long until the next try while no keys are known at all.
const FIRST_LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for a look that is under way.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Where the keys come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The `jwks_uri` of the issuer's discovery document.
    Discovery { issuer: String },
    /// This URL.
    Url(String),
}

/// The keys of an issuer.
pub(super) struct Issuer {
    source: Source,
    client: HttpsClient,
    /// `None` until they were read once.
    keys: RwLock<Option<Arc<KeySet>>>,
    /// Held during a look; when the last one began.
    looking: Mutex<Option<Instant>>,
    runtime: Handle,
    outage: Outage,
    looks: Looks,
    /// Counts the changes of the keys.
    changed: AtomicU64,
}

/// The metrics of looks at the keys of an issuer.
pub(super) struct Looks {
    all: Counter,
    failed: Counter,
    known: Gauge,
}

impl Looks {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let looks =
            Self { all: Counter::default(), failed: Counter::default(), known: Gauge::default() };
        metrics.register("issuer_looks", "Looks at the keys of the issuer", looks.all.clone());
        metrics.register(
            "issuer_looks_failed",
            "Looks at the keys of the issuer that failed",
            looks.failed.clone(),
        );
        metrics.register(
            "issuer_keys_known",
            "1 once keys of the issuer are known",
            looks.known.clone(),
        );
        looks
    }
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The issuer has no such key.
    Unknown,
    /// The issuer was never reached.
    Away,
}

impl Issuer {
    /// Returns the keys of an issuer, and looks at them from time to time until the last reference is dropped.
    pub(super) fn follow(source: Source, looks: Looks) -> anyhow::Result<Arc<Self>> {
        let client = HttpsClient::new()?;
        let issuer = Arc::new(Self {
            source,
            client,
            keys: RwLock::default(),
            looking: Mutex::default(),
            runtime: Handle::current(),
            outage: Outage::new("looks at the keys of the issuer"),
            looks,
            changed: AtomicU64::new(0),
        });
        tokio::spawn(refresh(Arc::downgrade(&issuer)));
        Ok(issuer)
    }

    /// Returns how often the keys changed: what was found with older ones may no longer hold.
    pub(super) fn generation(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    /// Returns the key for a token, after a look at the issuer's keys if it is not known.
    pub(super) async fn key(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, NoKey> {
        if let Some(key) = self.known(id, algorithm) {
            return Ok(key);
        }
        let issuer = Arc::clone(self);
        // In a task: a look goes on if the request that asked for it is dropped.
        let look = self.runtime.spawn(async move { issuer.look_unless_lately().await });
        let _ = timeout(WAIT_MAX, look).await;
        let why = || if self.was_reached() { NoKey::Unknown } else { NoKey::Away };
        self.known(id, algorithm).ok_or_else(why)
    }

    /// Returns true once its keys were read: from then on it may be away.
    pub(super) fn was_reached(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn known(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        keys.find(id, algorithm).cloned()
    }

    /// Looks at the keys, unless a look began within [`LOOK_INTERVAL`]. Waits for one that is under way.
    async fn look_unless_lately(&self) {
        let mut last = self.looking.lock().await;
        if last.is_none_or(|last| last.elapsed() >= LOOK_INTERVAL) {
            self.look(&mut last).await;
        }
    }

    /// Looks at the keys now, which `last` is told.
    async fn look(&self, last: &mut Option<Instant>) {
        *last = Some(Instant::now());
        self.looks.all.inc();
        match self.read().await {
            Ok(read) => {
                self.outage.works();
                self.looks.known.set(1);
                let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                if keys.as_ref().is_none_or(|keys| !keys.equals(&read)) {
                    *keys = Some(Arc::new(read));
                    self.changed.fetch_add(1, Ordering::Release);
                }
            }
            Err(error) => {
                self.looks.failed.inc();
                self.outage.failed(&format!("{error:#}"));
            }
        }
    }

    async fn read(&self) -> anyhow::Result<KeySet> {
        let url = match &self.source {
            Source::Url(url) => url.clone(),
            Source::Discovery { issuer } => Discovery::read(&self.client, issuer).await?.jwks_uri,
        };
        let document = self.client.get(&url).await?;
        let keys = KeySet::parse(&document).with_context(|| format!("{url} has no keys"))?;
        ensure!(!keys.is_empty(), "{url} has no key for signatures that can be used");
        Ok(keys)
    }
}

/// Looks at the keys until nobody needs them.
async fn refresh(issuer: Weak<Issuer>) {
    loop {
        let Some(issuer) = issuer.upgrade() else { return };
        issuer.look(&mut *issuer.looking.lock().await).await;
        let known = issuer.keys.read().unwrap_or_else(PoisonError::into_inner).is_some();
        drop(issuer);
        sleep(if known { REFRESH_INTERVAL } else { FIRST_LOOK_PAUSE }).await;
    }
}
