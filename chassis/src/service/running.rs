//! A service that runs.

use crate::base::tasks::Tasks;
use crate::http::{self, HeadLimits};
use crate::storage::Db;
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

/// A service that runs.
pub struct Running {
    pub(super) name: &'static str,
    pub(super) addr: SocketAddr,
    pub(super) management_addr: Option<SocketAddr>,
    /// Its management routes, where it has no address for them.
    pub(super) management: Option<Router>,
    pub(super) tasks: Tasks,
    pub(super) db: Option<Db>,
    pub(super) draining: Arc<AtomicBool>,
}

impl Running {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The base URL of its management routes, where it serves them itself.
    pub fn management_url(&self) -> Option<String> {
        self.management_addr.map(|addr| format!("http://{addr}"))
    }

    /// Its management routes with its name, where it does not serve them itself: for [`serve_management`], once.
    pub fn take_management(&mut self) -> Option<(&'static str, Router)> {
        Some((self.name, self.management.take()?))
    }

    /// Serves `routes` until the drain.
    pub(super) fn serve(
        &self,
        task: &'static str,
        listener: TcpListener,
        routes: Router,
        limits: HeadLimits,
    ) {
        let phase = &self.tasks.http;
        let (stop, connections) = (phase.stop.clone(), phase.tracker.clone());
        let served = http::serve(listener, routes, limits, stop, connections);
        self.tasks.spawn(phase, task, served);
    }

    /// Resolves when a task ended that should not have: the process should end then.
    pub async fn failed(&self) {
        self.tasks.failed.cancelled().await;
    }

    /// Drains: readiness goes down, running requests finish, consumers leave their groups, the writer
    /// finishes what it has. What takes longer than `grace` is cut, and nothing durable is lost by it.
    pub async fn stop(self, grace: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let until = Instant::now() + grace;
        let phases = [
            ("http", self.tasks.http),
            ("background", self.tasks.background),
            ("writer", self.tasks.writer),
        ];
        for (phase, tasks) in phases {
            // Slow clients must not cost the consumers their farewell, for which their groups would wait.
            let reserve = if phase == "http" { grace / 4 } else { Duration::ZERO };
            let left = until.saturating_duration_since(Instant::now());
            let left = left.saturating_sub(reserve);
            if !tasks.end(left).await {
                warn!(service = self.name, phase, "the drain took too long; cut it short");
            }
        }
        if let Some(db) = self.db {
            let _ = timeout(Duration::from_secs(2), db.close()).await;
        }
        info!(service = self.name, "stopped");
    }
}
