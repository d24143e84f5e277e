//! What the layers need to know of the process.

use crate::base::metrics::Metrics;
use crate::http::body::BodyMemory;
use crate::http::surface::Surface;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whom a process faces: how loud the line of each request is, and where requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// The public door: one line a request at `info`. Its requests wait in a queue for each service behind it.
    Public,
    /// Behind the door: one line a request at `debug`. Its requests wait in one queue.
    Internal,
}

/// What readiness and health look at besides the drain. Never Kafka: carts go on without it.
#[async_trait]
pub(crate) trait Dependencies: Send + Sync {
    /// Whether the process can work once they answer: its tables are there. Not whether they answer now: that is the same
    /// for all replicas, and a service without one ready replica answers nobody, where each of them says 503 with
    /// `Retry-After`.
    fn are_there(&self) -> bool;

    /// Whether they answer now.
    async fn answer(&self) -> bool;
}

/// The dependencies of a process that has none.
pub(crate) struct Nothing;

#[async_trait]
impl Dependencies for Nothing {
    fn are_there(&self) -> bool {
        true
    }

    async fn answer(&self) -> bool {
        true
    }
}

/// What the layers need to know of the process.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) dependencies: Arc<dyn Dependencies>,
    pub(crate) facing: Exposure,
    pub(crate) bodies: BodyMemory,
    pub(crate) surface: Arc<Surface>,
}

impl Context {
    pub(super) fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.dependencies.are_there()
    }

    /// Whether the process is ready and what it depends on answers.
    pub(super) async fn is_healthy(&self) -> bool {
        self.is_ready() && self.dependencies.answer().await
    }
}
