//! Serves a service, the gateway, or the management routes of several services.

use crate::auth::Authenticator;
use crate::base::config::{Listen, TlsFiles};
use crate::base::metrics::Metrics;
use crate::base::span::Tracer;
use crate::base::tasks::Tasks;
use crate::http::{self, Context, Dependencies, Exposure, Gate, HeadLimits, Surface};
use crate::http::{Tls, TlsMetrics};
use crate::service::ports::{listen, listen_at};
use crate::service::running::Running;
use crate::storage::Db;
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::net::TcpListener;
use tracing::info;

/// The path of the health check, at both addresses.
pub const HEALTH_PATH: &str = "/actuator/health";
/// The paths of every management address.
pub(super) const MANAGEMENT_PATHS: [&str; 2] = ["/metrics", HEALTH_PATH];

/// A process with its ports, before it serves.
pub(super) struct Process {
    pub(super) name: &'static str,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Tracer,
    pub(super) tasks: Tasks,
    pub(super) listener: TcpListener,
    /// TLS at `listener`.
    pub(super) tls: Option<Arc<Tls>>,
    /// `None` if another process serves `management`.
    pub(super) management_listener: Option<TcpListener>,
    pub(super) management: Router,
    pub(super) management_paths: Vec<&'static str>,
    pub(super) db: Option<Db>,
    pub(super) authenticator: Authenticator,
    /// What stands before the routes.
    pub(super) gate: Option<Gate>,
}

impl Process {
    /// Serves `routes` within the layers of `http`, and those within `around`. Returns what runs.
    pub(super) fn serve(
        self,
        surface: Surface,
        routes: Router,
        exposure: Exposure,
        around: impl FnOnce(Router) -> Router,
    ) -> anyhow::Result<Running> {
        let draining = Arc::new(AtomicBool::new(false));
        let (bodies, metrics) = (http::BodyMemory::default(), self.metrics);
        let surface = Arc::new(surface);
        let dependencies = self.db.clone().map(|db| Arc::new(db) as Arc<dyn Dependencies>);
        let context = Context {
            metrics,
            tracer: self.tracer,
            draining: Arc::clone(&draining),
            dependencies,
            authenticator: self.authenticator.clone(),
            exposure,
            bodies,
            surface,
            gate: self.gate,
        };
        let routes = around(http::public(context.clone(), routes));
        let mut running = Running {
            name: self.name,
            addr: self.listener.local_addr()?,
            routes: routes.clone(),
            tls: self.tls.clone(),
            management_addr: None,
            management: None,
            tasks: self.tasks,
            db: self.db,
            draining,
        };
        let at = self.management_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        // Where another process serves them, the gate stands there.
        let gate = at.map(|at| Gate::of_management(self.authenticator, at.ip().is_loopback()));
        let management = Surface { paths: self.management_paths, ..Surface::default() };
        let management = http::management(Context { gate, ..context }, management, self.management);
        let limits = HeadLimits::of(exposure);
        if let Some(tls) = self.tls.clone() {
            let background = &running.tasks.background;
            let stop = background.stop.clone();
            running.tasks.spawn(background, "certificate", async move {
                stop.run_until_cancelled(tls.follow_files()).await;
            });
        }
        running.serve("http", self.listener, routes, limits, self.tls);
        match self.management_listener {
            Some(listener) => {
                running.management_addr = Some(listener.local_addr()?);
                running.serve("management", listener, management, limits, None);
            }
            None => running.management = Some(management),
        }
        info!(service = self.name, addr = %running.addr, "listening");
        Ok(running)
    }
}

/// Serves the management routes of several services at one address, each under the name of its service as prefix. A 404 lists
/// `paths`.
pub fn serve_management(
    addr: SocketAddr,
    services: Vec<(&'static str, Router)>,
    paths: Vec<&'static str>,
    authenticator: Authenticator,
) -> anyhow::Result<Running> {
    let listener = listen_at(addr, "MANAGEMENT_ADDR")?;
    let surface = Surface { paths, ..Surface::default() };
    let gate =
        Gate::of_management(authenticator.clone(), listener.local_addr()?.ip().is_loopback());
    let routes = services
        .into_iter()
        .fold(Router::new(), |routes, (name, service)| routes.nest(&format!("/{name}"), service));
    let process = Process {
        name: "management",
        metrics: Arc::default(),
        tracer: Tracer::default(),
        tasks: Tasks::default(),
        listener,
        tls: None,
        management_listener: None,
        management: Router::new(),
        management_paths: MANAGEMENT_PATHS.to_vec(),
        db: None,
        authenticator,
        gate: Some(gate),
    };
    process.serve(surface, routes, Exposure::Internal, |routes| routes)
}

/// Where customers reach a process: its addresses, and the files of its certificate if it speaks HTTPS.
#[derive(Clone, Copy, Debug)]
pub struct PublicAddress<'a> {
    pub listen: &'a Listen,
    pub tls: &'a TlsFiles,
}

/// Serves a process that has no database: the gateway. `around` adds layers around all others, so it also sees their
/// refusals. `authenticator` checks the tokens that come; `None` for what stands in for a process in a measurement.
#[expect(clippy::too_many_arguments, reason = "they are the parts of a process")]
pub fn serve_bare(
    name: &'static str,
    addresses: PublicAddress<'_>,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    authenticator: Authenticator,
    surface: Surface,
    routes: Router,
    around: impl FnOnce(Router) -> Router,
) -> anyhow::Result<Running> {
    let tls = Tls::open(addresses.tls, TlsMetrics::new(&metrics))?;
    let (listener, management_listener) = listen(addresses.listen)?;
    let process = Process {
        name,
        metrics,
        tracer,
        tasks: Tasks::default(),
        listener,
        tls,
        management_listener,
        management: Router::new(),
        management_paths: MANAGEMENT_PATHS.to_vec(),
        db: None,
        gate: None, // the gateway's stands within its routes
        authenticator,
    };
    process.serve(surface, routes, Exposure::Public, around)
}
