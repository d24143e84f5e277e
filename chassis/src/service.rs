//! A service being put together, and running.

use crate::admin::{self, Admin};
use crate::bus::Bus;
use crate::config::{Host, Listen};
use crate::consumer::{self, Policy, Reader, Replayer};
use crate::db::{Db, Schema, causes};
use crate::history::History;
use crate::http::{self, Facing, HeadLimits, Layers, Ready, Surface};
use crate::lease::{self, Lease};
use crate::mailbox::{Chores, RELAY};
use crate::metrics::Metrics;
use crate::outage::Outage;
use crate::outbox_age::OutboxAge;
use crate::relay::Relay;
use crate::retention::{self, RetentionRule};
use crate::tasks::{Tasks, on_a_thread};
use crate::writer::{self, ChoreJob, Domain, Writer};
use axum::Router;
use sqlx::{AssertSqlSafe, Row};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Connections that may wait to be accepted: beyond this the kernel drops them, and the client tries
/// again after a second. Many customers come at once here.
const BACKLOG: u32 = 4_096;
/// How often the gauges of the database are read.
const GAUGES: Duration = Duration::from_secs(1);
/// Rows of an outbox that are counted.
const COUNTED: u32 = 10_000;

/// The path of health, at both addresses.
pub const HEALTH_PATH: &str = "/actuator/health";
/// What every management address has.
const MANAGEMENT_PATHS: [&str; 2] = ["/metrics", HEALTH_PATH];

/// A setting that cannot be used: the process ends with status 2 and this line.
#[derive(Debug, thiserror::Error)]
#[error("{setting} cannot be used: {why}")]
pub struct Unusable {
    /// Its name.
    pub setting: &'static str,
    /// What is wrong, and what it should look like.
    pub why: String,
}

/// A service that is being put together.
pub struct Chassis {
    name: &'static str,
    db: Db,
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    listener: TcpListener,
    management_listener: Option<TcpListener>,
    tasks: Tasks,
    wake_relay: Arc<Notify>,
    chores: Chores,
    chores_taken: Option<mpsc::Receiver<ChoreJob>>,
    management: Router,
    management_paths: Vec<&'static str>,
    retention: Vec<RetentionRule>,
}

impl Chassis {
    /// Opens the database and the ports. Postgres may be away; all else must be usable.
    pub async fn open(
        name: &'static str,
        host: &Host,
        schema: Schema,
        bus: Arc<dyn Bus>,
    ) -> anyhow::Result<Self> {
        let (listener, management_listener) = listen(&host.listen)?;
        let db = Db::open(&host.database_url, &schema)
            .await
            .map_err(|error| Unusable { setting: "DATABASE_URL", why: causes(&error) })?;
        let (sender, chores_taken) = mpsc::channel(64);
        let metrics = Arc::new(Metrics::default());
        metrics.register_mailbox();
        let chassis = Self {
            name,
            db: db.clone(),
            bus,
            metrics,
            listener,
            management_listener,
            tasks: Tasks::default(),
            wake_relay: Arc::default(),
            chores: Chores(sender),
            chores_taken: Some(chores_taken),
            management: Router::new(),
            management_paths: MANAGEMENT_PATHS.to_vec(),
            retention: vec![retention::INBOX, retention::WRITERS],
        };
        let stop = chassis.tasks.background.stop.clone();
        chassis.spawn("migrate", async move {
            stop.run_until_cancelled(db.migrate(&schema)).await;
            stop.cancelled().await;
        });
        Ok(chassis)
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The metrics, to register more.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Starts the service's one writer.
    ///
    /// # Panics
    /// When it is called twice: there is one.
    pub fn writer<D: Domain>(&mut self, domain: D) -> Writer<D> {
        let chores = self.chores_taken.take().expect("a service has one writer");
        let (relay, metrics) = (Arc::clone(&self.wake_relay), Arc::clone(&self.metrics));
        let (writer, task) = writer::writer(domain, self.db.clone(), metrics, relay, chores);
        let phase = &self.tasks.writer;
        self.tasks.spawn(phase, "writer", on_a_thread("writer", task.run(phase.stop.clone())));
        writer
    }

    /// Starts sending what the outbox holds.
    pub fn relay(&self) {
        let relay = Relay {
            service: self.name,
            db: self.db.clone(),
            chores: self.chores.clone(),
            lease: self.lease(RELAY),
            wake: Arc::clone(&self.wake_relay),
            metrics: Arc::clone(&self.metrics),
            outage: Outage::new(format!("sends of {} to the topic", self.name)),
        };
        let (bus, stop) = (Arc::clone(&self.bus), self.tasks.background.stop.clone());
        self.spawn("relay", relay.run(bus, stop));
    }

    /// Starts acting on the events of others, in the consumer group named like the service.
    pub fn react<P: Policy>(&mut self, policy: P, writer: &Writer<P::Domain>) {
        let reader = Arc::new(Reader::new(policy, writer.clone(), Arc::clone(&self.metrics)));
        let replayer = Replayer {
            reader: Arc::clone(&reader),
            db: self.db.clone(),
            chores: self.chores.clone(),
        };
        let admin =
            Admin { db: self.db.clone(), chores: self.chores.clone(), replay: Arc::new(replayer) };
        self.manage(admin::PATHS, admin::routes(admin));
        let (bus, db) = (Arc::clone(&self.bus), self.db.clone());
        let (metrics, stop) = (Arc::clone(&self.metrics), self.tasks.background.stop.clone());
        self.spawn("consumer", consumer::run(reader, bus, self.name, db, metrics, stop));
    }

    /// Adds routes for operators at the management address; none of them reads a body.
    pub fn manage(&mut self, paths: &[&'static str], routes: Router) {
        self.management_paths.extend(paths);
        self.management = std::mem::take(&mut self.management).merge(routes);
    }

    /// Has the service delete rows of its own by age, besides those of the chassis.
    pub fn expire(&mut self, rule: RetentionRule) {
        self.retention.push(rule);
    }

    /// A way to read the topic again from its beginning.
    pub fn history(&self) -> History {
        History::new(Arc::clone(&self.bus), self.tasks.http.stop.clone())
    }

    /// A lease on work that one replica at a time may do.
    pub fn lease(&self, name: &'static str) -> Lease {
        Lease::new(name, &self.db, self.chores.clone(), lease::TERM)
    }

    /// What tells background tasks to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.tasks.background.stop.clone()
    }

    /// Runs a task until the service stops; it watches [`Chassis::stopping`] and ends only then.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(&self.tasks.background, name, task);
    }

    /// Serves `routes`, which `surface` describes, and answers the running service.
    pub fn serve(self, surface: Surface, routes: Router) -> anyhow::Result<Running> {
        let (db, metrics) = (self.db.clone(), Arc::clone(&self.metrics));
        let stop = self.tasks.background.stop.clone();
        self.spawn("gauges", async move {
            stop.run_until_cancelled(gauges(db, metrics)).await;
        });
        let retention = retention::run(
            self.retention.clone(),
            self.db.clone(),
            self.chores.clone(),
            Lease::new(retention::RETENTION, &self.db, self.chores.clone(), retention::TERM),
        );
        let stop = self.stopping();
        self.spawn("retention", async move {
            stop.run_until_cancelled(retention).await;
        });
        let ready = Ready::Database(self.db.clone());
        let process = Process {
            name: self.name,
            metrics: self.metrics,
            tasks: self.tasks,
            listener: self.listener,
            management_listener: self.management_listener,
            management: self.management,
            management_paths: self.management_paths,
            db: Some(self.db),
        };
        process.serve(surface, routes, ready, Facing::Internal, |routes| routes)
    }
}

/// Keeps the gauges that a query must fill.
async fn gauges(db: Db, metrics: Arc<Metrics>) {
    // After an outage there are many rows: those beyond the first are taken to hold as many events.
    let counts = format!(
        "select case when counted > {COUNTED} then (newest - oldest + 1) * total / counted else total end, \
                oldest, newest, (select count(*) from parked) \
         from (select count(*) counted, cast(coalesce(sum(size), 0) as bigint) total from \
                  (select size from outbox order by seq limit {COUNTED} + 1) few) sums, \
              (select min(seq) oldest from outbox) begins, (select max(seq) newest from outbox) ends"
    );
    db.ready().await;
    let mut age = OutboxAge::default();
    loop {
        let counts = sqlx::query(AssertSqlSafe(counts.clone()));
        if let Ok(row) = db.fetch_one(counts).await {
            metrics.outbox_events.set(row.get(0));
            let waiting = row.get::<Option<i64>, _>(1).zip(row.get(2));
            metrics.outbox_age.set(age.observe(waiting, Instant::now()).as_secs_f64());
            metrics.parked_events.set(row.get(3));
        }
        let (all, idle) = db.readers_in_pool();
        metrics.pool(all, idle);
        tokio::time::sleep(GAUGES).await;
    }
}

/// Opens the ports of a process: the public one and, where it has its own, that of management.
fn listen(addresses: &Listen) -> anyhow::Result<(TcpListener, Option<TcpListener>)> {
    let public = listen_at(addresses.listen_addr, "LISTEN_ADDR")?;
    let management = addresses.management_addr.map(|addr| listen_at(addr, "MANAGEMENT_ADDR"));
    Ok((public, management.transpose()?))
}

/// Opens a port. `setting` is the name of the setting that it comes from.
fn listen_at(addr: SocketAddr, setting: &'static str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| {
        let why =
            format!("{addr}: {error}; it looks like 127.0.0.1:8080, with port 0 for a free one");
        Unusable { setting, why }.into()
    })
}

/// Serves the management routes of several services at one address, each under its name as prefix.
pub fn serve_management(
    addr: SocketAddr,
    services: Vec<(&'static str, Router)>,
) -> anyhow::Result<Running> {
    let listener = listen_at(addr, "MANAGEMENT_ADDR")?;
    let paths =
        vec!["/gifticon/metrics", "/cart/admin/parked", "/mypage/admin/rebuild", HEALTH_PATH];
    let surface = Surface { paths, bodies: &[] };
    let routes = services
        .into_iter()
        .fold(Router::new(), |routes, (name, service)| routes.nest(&format!("/{name}"), service));
    let process = Process {
        name: "management",
        metrics: Arc::default(),
        tasks: Tasks::default(),
        listener,
        management_listener: None,
        management: Router::new(),
        management_paths: MANAGEMENT_PATHS.to_vec(),
        db: None,
    };
    process.serve(surface, routes, Ready::Always, Facing::Internal, |routes| routes)
}

/// Serves a process that has no database: the gateway. `around` goes around all else, refusals of the
/// layers included.
pub fn serve_bare(
    name: &'static str,
    addresses: &Listen,
    metrics: Arc<Metrics>,
    surface: Surface,
    routes: Router,
    around: impl FnOnce(Router) -> Router,
) -> anyhow::Result<Running> {
    let (listener, management_listener) = listen(addresses)?;
    let process = Process {
        name,
        metrics,
        tasks: Tasks::default(),
        listener,
        management_listener,
        management: Router::new(),
        management_paths: MANAGEMENT_PATHS.to_vec(),
        db: None,
    };
    process.serve(surface, routes, Ready::Always, Facing::Public, around)
}

/// A process with its ports, before it serves.
struct Process {
    name: &'static str,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    listener: TcpListener,
    /// None where another process serves `management`.
    management_listener: Option<TcpListener>,
    management: Router,
    management_paths: Vec<&'static str>,
    db: Option<Db>,
}

impl Process {
    fn serve(
        self,
        surface: Surface,
        routes: Router,
        ready: Ready,
        facing: Facing,
        around: impl FnOnce(Router) -> Router,
    ) -> anyhow::Result<Running> {
        let draining = Arc::new(AtomicBool::new(false));
        let (bodies, metrics) = (http::Memory::default(), self.metrics);
        let surface = Arc::new(surface);
        let layers =
            Layers { metrics, draining: Arc::clone(&draining), ready, facing, bodies, surface };
        let mut running = Running {
            name: self.name,
            addr: self.listener.local_addr()?,
            management_addr: None,
            management: None,
            tasks: self.tasks,
            db: self.db,
            draining,
        };
        let management = Surface { paths: self.management_paths, bodies: &[] };
        let management = layers.clone().management(management, self.management);
        let limits = HeadLimits::of(facing);
        running.serve("http", self.listener, around(layers.around(routes)), limits);
        match self.management_listener {
            Some(listener) => {
                running.management_addr = Some(listener.local_addr()?);
                running.serve("management", listener, management, limits);
            }
            None => running.management = Some(management),
        }
        info!(service = self.name, addr = %running.addr, "listening");
        Ok(running)
    }
}

/// A service that runs.
pub struct Running {
    name: &'static str,
    addr: SocketAddr,
    management_addr: Option<SocketAddr>,
    /// Its management routes, where it has no address for them.
    management: Option<Router>,
    tasks: Tasks,
    db: Option<Db>,
    draining: Arc<AtomicBool>,
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
    fn serve(&self, task: &'static str, listener: TcpListener, routes: Router, limits: HeadLimits) {
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
