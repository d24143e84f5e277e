//! The properties of the process that the layers depend on.

use crate::auth::Authenticator;
use crate::base::metrics::Metrics;
use crate::base::span::Tracer;
use crate::http::access::Gate;
use crate::http::body::BodyMemory;
use crate::http::surface::Surface;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who can reach a server: it decides the log level of requests, and where they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// Customers can: the gateway. Logs a line for each request at `info`. Requests wait in a queue for each service behind it.
    Public,
    /// Only other processes of the shop and operators can. Logs a line for each request at `debug`. Requests wait in one queue.
    Internal,
}

/// The dependencies that readiness and health check. Kafka is none of them: carts are taken without it.
#[async_trait]
pub(crate) trait Dependencies: Send + Sync {
    /// Returns true if the process can work once its dependencies respond: its tables exist. Readiness does not require that
    /// they respond now. An outage of the database is the same for all replicas; if all were unready, no client would get
    /// the 503 with `Retry-After` that each of them can give.
    fn are_there(&self) -> bool;

    /// Returns true if the dependencies respond now.
    async fn answer(&self) -> bool;
}

/// The properties of the process that the layers depend on.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Tracer,
    pub(crate) draining: Arc<AtomicBool>,
    /// `None` if it has none, as the gateway.
    pub(crate) dependencies: Option<Arc<dyn Dependencies>>,
    /// Checks tokens.
    pub(crate) authenticator: Authenticator,
    pub(crate) exposure: Exposure,
    pub(crate) bodies: BodyMemory,
    pub(crate) surface: Arc<Surface>,
    /// What stands before the routes. `None` before those of a process for tests and benches alone.
    pub(crate) gate: Option<Gate>,
}

impl Context {
    /// Returns true if the process takes requests. It does not before it read the keys of the issuer once, so that a rollout does not
    /// replace a process that knows them by one that does not.
    pub(super) fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
            && self.authenticator.is_able()
            && self.dependencies.as_ref().is_none_or(|dependencies| dependencies.are_there())
    }

    /// Returns true if the process is ready and its dependencies respond.
    pub(super) async fn is_healthy(&self) -> bool {
        self.is_ready()
            && match &self.dependencies {
                Some(dependencies) => dependencies.answer().await,
                None => true,
            }
    }
}
