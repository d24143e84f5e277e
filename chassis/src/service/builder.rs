//! A service that is being put together.

use crate::base::config::{Host, InvalidSetting};
use crate::base::metrics::Metrics;
use crate::base::outage::Outage;
use crate::base::tasks::{Tasks, on_a_thread};
use crate::bus::Bus;
use crate::http::{Dependencies, Exposure, Surface};
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingJob, RELAY};
use crate::mailbox::retention::{INBOX, RETENTION, RetentionRule, WRITERS};
use crate::service::admin::{self, Admin};
use crate::service::gauges;
use crate::service::ports::listen;
use crate::service::process::{MANAGEMENT_PATHS, Process};
use crate::service::running::Running;
use crate::storage::{Db, Schema, causes};
use crate::workers::consumer::{self, Policy, Reader, Replayer};
use crate::workers::lease::{self, Lease};
use crate::workers::relay::Relay;
use crate::workers::replays::Replays;
use crate::workers::retention;
use crate::writer::{self, WriteModel, Writer};
use async_trait::async_trait;
use axum::Router;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

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
    housekeeping: Housekeeper,
    housekeeping_jobs: Option<mpsc::Receiver<HousekeepingJob>>,
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
            .map_err(|error| InvalidSetting { setting: "DATABASE_URL", why: causes(&error) })?;
        let (sender, housekeeping_jobs) = mpsc::channel(64);
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
            housekeeping: Housekeeper(sender),
            housekeeping_jobs: Some(housekeeping_jobs),
            management: Router::new(),
            management_paths: MANAGEMENT_PATHS.to_vec(),
            retention: vec![INBOX, WRITERS],
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
    pub fn writer<M: WriteModel>(&mut self, model: M) -> Writer<M> {
        let housekeeping = self.housekeeping_jobs.take().expect("a service has one writer");
        let (relay, metrics) = (Arc::clone(&self.wake_relay), Arc::clone(&self.metrics));
        let (writer, task) = writer::writer(model, self.db.clone(), metrics, relay, housekeeping);
        let phase = &self.tasks.writer;
        self.tasks.spawn(phase, "writer", on_a_thread("writer", task.run(phase.stop.clone())));
        writer
    }

    /// Starts sending what the outbox holds.
    pub fn relay(&self) {
        let relay = Relay {
            service: self.name,
            db: self.db.clone(),
            housekeeping: self.housekeeping.clone(),
            lease: self.lease(RELAY),
            wake: Arc::clone(&self.wake_relay),
            metrics: Arc::clone(&self.metrics),
            outage: Outage::new(format!("sends of {} to the topic", self.name)),
        };
        let (bus, stop) = (Arc::clone(&self.bus), self.tasks.background.stop.clone());
        self.spawn("relay", relay.run(bus, stop));
    }

    /// Starts acting on the events of others, in the consumer group named like the service.
    pub fn react<P: Policy>(&mut self, policy: P, writer: &Writer<P::Model>) {
        let reader = Arc::new(Reader::new(policy, writer.clone(), Arc::clone(&self.metrics)));
        let replayer = Replayer {
            reader: Arc::clone(&reader),
            db: self.db.clone(),
            housekeeping: self.housekeeping.clone(),
        };
        let admin = Admin {
            db: self.db.clone(),
            housekeeping: self.housekeeping.clone(),
            replay: Arc::new(replayer),
        };
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
    pub fn replays(&self) -> Replays {
        Replays::new(Arc::clone(&self.bus), self.tasks.http.stop.clone())
    }

    /// A lease on work that one replica at a time may do.
    pub fn lease(&self, name: &'static str) -> Lease {
        Lease::new(name, &self.db, self.housekeeping.clone(), lease::TERM)
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
            stop.run_until_cancelled(gauges::run(db, metrics)).await;
        });
        let retention = retention::run(
            self.retention.clone(),
            self.db.clone(),
            self.housekeeping.clone(),
            Lease::new(RETENTION, &self.db, self.housekeeping.clone(), retention::TERM),
        );
        let stop = self.stopping();
        self.spawn("retention", async move {
            stop.run_until_cancelled(retention).await;
        });
        let dependencies = Arc::new(self.db.clone());
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
        process.serve(surface, routes, dependencies, Exposure::Internal, |routes| routes)
    }
}

#[async_trait]
impl Dependencies for Db {
    fn are_there(&self) -> bool {
        self.is_ready()
    }

    async fn answer(&self) -> bool {
        self.answers().await
    }
}
