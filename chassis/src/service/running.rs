//! A running service, and how it stops.

use crate::base::limits::{DATABASE_CLOSE_TIMEOUT, DRAIN_RESERVE_SHARE};
use crate::base::tasks::Tasks;
use crate::http::{self, HeadLimits, LocalServer, Tls};
use crate::storage::Db;
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

/// A running service.
pub struct Running {
    pub(super) name: &'static str,
    pub(super) addr: SocketAddr,
    /// What it serves at `addr`.
    pub(super) routes: Router,
    /// TLS at `addr`; `None` for plain HTTP.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) management_addr: Option<SocketAddr>,
    /// Its management routes, if it has no management address.
    pub(super) management: Option<Router>,
    pub(super) tasks: Tasks,
    pub(super) db: Option<Db>,
    pub(super) draining: Arc<AtomicBool>,
}

impl Running {
    /// Returns its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the address that it listens at.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns its base URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Returns what calls it in this process, without a connection.
    pub fn local(&self) -> LocalServer {
        LocalServer::new(self.routes.clone(), self.addr)
    }

    /// Returns the base URL of its management routes, if it serves them itself.
    pub fn management_url(&self) -> Option<String> {
        self.management_addr.map(|addr| format!("http://{addr}"))
    }

    /// Returns its name and its management routes for [`crate::service::serve_management`]: once, and only if it does not serve them itself.
    pub fn take_management(&mut self) -> Option<(&'static str, Router)> {
        Some((self.name, self.management.take()?))
    }

    /// Starts serving `routes` until the drain.
    pub(super) fn serve(
        &self,
        task: &'static str,
        listener: TcpListener,
        routes: Router,
        limits: HeadLimits,
        tls: Option<Arc<Tls>>,
    ) {
        let phase = &self.tasks.http;
        let (stop, connections) = (phase.stop.clone(), phase.tracker.clone());
        let served = http::serve(listener, routes, limits, tls, stop, connections);
        self.tasks.spawn(phase, task, served);
    }

    /// Waits until a task ended that should not have. The process should end then.
    pub async fn failed(&self) {
        self.tasks.failed.cancelled().await;
    }

    /// Drains: readiness goes down, running requests finish, consumers leave their groups, and the writer finishes its queue.
    /// Work that takes longer than `grace` is cut short, which loses nothing durable.
    pub async fn stop(self, grace: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let until = Instant::now() + grace;
        let phases = [
            ("http", self.tasks.http),
            ("background", self.tasks.background),
            ("writer", self.tasks.writer),
        ];
        for (phase, tasks) in phases {
            // Slow clients must leave time for the consumers to leave their groups, which would wait for them otherwise.
            let reserve =
                if phase == "http" { grace / DRAIN_RESERVE_SHARE } else { Duration::ZERO };
            let left = until.saturating_duration_since(Instant::now());
            let left = left.saturating_sub(reserve);
            if !tasks.end(left).await {
                warn!(service = self.name, phase, "the drain took too long; cut it short");
            }
        }
        if let Some(db) = self.db {
            let _ = timeout(DATABASE_CLOSE_TIMEOUT, db.close()).await;
        }
        info!(service = self.name, "stopped");
    }
}
