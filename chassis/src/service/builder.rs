//! Builds a service out of its parts.

use crate::auth::{Authenticator, log_mode};
use crate::base::config::{Auth, Host, InvalidSetting, RateLimit, SharedSecrets};
use crate::base::limits::{LEASE_TERM, RETENTION_LEASE_TERM};
use crate::base::metrics::Metrics;
use crate::base::outage::Outage;
use crate::base::replicas::Replicas;
use crate::base::span::Tracer;
use crate::base::tasks::{Tasks, on_a_thread};
use crate::bus::Bus;
use crate::http::{Dependencies, Exposure, Gate, Surface, WriteRate};
use crate::mailbox::AuditLog;
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingJob, RELAY_LEASE};
use crate::mailbox::retention::{INBOX, RETENTION_LEASE, RetentionRule, WRITERS};
use crate::service::admin::{self, Admin};
use crate::service::gauges;
use crate::service::ports::listen;
use crate::service::process::{MANAGEMENT_PATHS, Process};
use crate::service::running::Running;
use crate::service::writing_replicas::{self, Counted};
use crate::storage::{Db, Dialect, Schema, causes};
use crate::workers::consumer::{self, EventHandler, Policy};
use crate::workers::dead_letter_replay::DeadLetterReplay;
use crate::workers::lease::Lease;
use crate::workers::relay::Relay;
use crate::workers::replays::Replays;
use crate::workers::retention;
use crate::writer::{self, WriteModel, Writer};
use async_trait::async_trait;
use axum::Router;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Builds a service: opens its database and ports, starts its tasks, and serves it.
pub struct Chassis {
    name: &'static str,
    db: Db,
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    listener: TcpListener,
    management_listener: Option<TcpListener>,
    tasks: Tasks,
    wake_relay: Arc<Notify>,
    housekeeping: Housekeeper,
    housekeeping_jobs: Option<mpsc::Receiver<HousekeepingJob>>,
    management: Router,
    management_paths: Vec<&'static str>,
    retention: Vec<RetentionRule>,
    authenticator: Authenticator,
    auth: Auth,
    service_tokens: Option<SharedSecrets>,
    rate_limit: RateLimit,
    /// Empty where no bound but that of writes is shared.
    replicas: OnceLock<Replicas>,
}

impl Chassis {
    /// Opens the database and the ports. Postgres may be away. Fails if another setting cannot be used.
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
        let tracer = Tracer::of(name, &metrics);
        let authenticator = Authenticator::new(&host.auth, &metrics)?;
        let chassis = Self {
            name,
            db: db.clone(),
            bus,
            metrics,
            tracer,
            listener,
            management_listener,
            tasks: Tasks::default(),
            wake_relay: Arc::default(),
            housekeeping: Housekeeper(sender),
            housekeeping_jobs: Some(housekeeping_jobs),
            management: Router::new(),
            management_paths: MANAGEMENT_PATHS.to_vec(),
            retention: vec![INBOX, WRITERS],
            authenticator,
            auth: host.auth.clone(),
            service_tokens: host.service_token.service_token.clone(),
            rate_limit: host.rate_limit,
            replicas: OnceLock::new(),
        };
        let stop = chassis.stopping();
        chassis.spawn_to_its_end("migrate", async move {
            stop.run_until_cancelled(db.migrate(&schema)).await;
            stop.cancelled().await;
        });
        Ok(chassis)
    }

    /// Returns how many replicas there are, to share a bound of all of them. On SQLite there is one. They are counted from
    /// [`Self::serve`] on.
    pub fn replicas(&self) -> Replicas {
        self.replicas.get_or_init(Replicas::default).clone()
    }

    /// Returns the database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Returns the metrics, to register more of them.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns what starts the spans of the service.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Starts the service's only writer.
    ///
    /// # Panics
    /// Panics if it is called twice.
    pub fn writer<M: WriteModel>(&mut self, model: M) -> Writer<M> {
        let housekeeping = self.housekeeping_jobs.take().expect("a service has one writer");
        let (relay, metrics) = (Arc::clone(&self.wake_relay), Arc::clone(&self.metrics));
        let (db, tracer) = (self.db.clone(), self.tracer.clone());
        let (writer, task) = writer::writer(model, db, metrics, tracer, relay, housekeeping);
        let phase = &self.tasks.writer;
        self.tasks.spawn(phase, "writer", on_a_thread("writer", task.run(phase.stop.clone())));
        writer
    }

    /// Starts sending the events of the outbox.
    pub fn relay(&self) {
        let relay = Relay {
            service: self.name,
            db: self.db.clone(),
            housekeeping: self.housekeeping.clone(),
            lease: self.lease(RELAY_LEASE),
            wake: Arc::clone(&self.wake_relay),
            metrics: Arc::clone(&self.metrics),
            tracer: self.tracer.clone(),
            destination: self.bus.destination(),
            outage: Outage::new(format!("sends of {} to the topic", self.name)),
        };
        self.spawn_to_its_end("relay", relay.run(Arc::clone(&self.bus), self.stopping()));
    }

    /// Starts handling the events of other services, in the consumer group with the name of the service.
    pub fn react<P: Policy>(&mut self, policy: P, writer: &Writer<P::Model>) {
        let handler = Arc::new(EventHandler {
            policy,
            writer: writer.clone(),
            metrics: Arc::clone(&self.metrics),
            tracer: self.tracer.clone(),
            destination: self.bus.destination(),
            group: self.name,
        });
        let replay = DeadLetterReplay {
            handler: Arc::clone(&handler),
            db: self.db.clone(),
            housekeeping: self.housekeeping.clone(),
        };
        let admin = Admin {
            db: self.db.clone(),
            housekeeping: self.housekeeping.clone(),
            replay: Arc::new(replay),
        };
        self.manage(admin::PATHS, admin::routes(admin));
        let (bus, db) = (Arc::clone(&self.bus), self.db.clone());
        let (metrics, stop) = (Arc::clone(&self.metrics), self.stopping());
        self.spawn_to_its_end(
            "consumer",
            consumer::run(handler, bus, self.name, db, metrics, stop),
        );
    }

    /// Adds routes for operators at the management address. None of them may read a body.
    pub fn manage(&mut self, paths: &[&'static str], routes: Router) {
        self.management_paths.extend(paths);
        self.management = std::mem::take(&mut self.management).merge(routes);
    }

    /// Adds a rule that deletes rows of the service by age.
    pub fn expire(&mut self, rule: RetentionRule) {
        self.retention.push(rule);
    }

    /// Returns the way to the audit log.
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.housekeeping.clone())
    }

    /// Returns a way to replay the topic from its beginning.
    pub fn replays(&self) -> Replays {
        Replays::new(Arc::clone(&self.bus), self.tasks.http.stop.clone())
    }

    /// Returns the topic, to follow it outside of any group.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Returns a lease on work that only one replica at a time does.
    pub fn lease(&self, name: &'static str) -> Lease {
        Lease::new(name, &self.db, self.housekeeping.clone(), LEASE_TERM)
    }

    /// Runs a worker until the service stops. It must not end before.
    pub fn spawn(&self, name: &'static str, worker: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stopping();
        self.spawn_to_its_end(name, async move {
            stop.run_until_cancelled(worker).await;
        });
    }

    /// Runs a task that ends by itself when the service is [stopping](Self::stopping), and not before.
    pub fn spawn_to_its_end(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn(&self.tasks.background, name, task);
    }

    /// Returns the token that is cancelled when background tasks must stop.
    pub fn stopping(&self) -> CancellationToken {
        self.tasks.background.stop.clone()
    }

    /// Returns the bound on the writes of each client. Begins to count the replicas, if they share it or another bound.
    fn write_rate(&self) -> Option<WriteRate> {
        let per_second = self.rate_limit.writes(!self.authenticator.is_open());
        let rate = WriteRate::new(per_second, &self.metrics);
        let replicas = self.replicas.get().cloned();
        let is_shared = rate.is_some() || replicas.is_some();
        if is_shared && self.db.dialect() == Dialect::Postgres {
            let rate = rate.clone();
            let share = move |counted: Counted| {
                if let Some(replicas) = &replicas {
                    replicas.set(counted.running);
                }
                if let Some(rate) = &rate {
                    rate.share_among(u32::try_from(counted.writing).unwrap_or(u32::MAX));
                }
            };
            self.spawn("writing replicas", writing_replicas::run(self.db.clone(), share));
        }
        rate
    }

    /// Serves `routes`, which `surface` describes. Returns the running service.
    pub fn serve(self, surface: Surface, routes: Router) -> anyhow::Result<Running> {
        self.spawn("gauges", gauges::run(self.db.clone(), Arc::clone(&self.metrics)));
        let retention = retention::run(
            self.retention.clone(),
            self.db.clone(),
            self.housekeeping.clone(),
            Lease::new(RETENTION_LEASE, &self.db, self.housekeeping.clone(), RETENTION_LEASE_TERM),
        );
        self.spawn("retention", retention);
        if self.management_listener.is_some() {
            log_mode(&self.auth); // in `standalone` the gateway does
        }
        let tokens = self.service_tokens.as_ref();
        let rate = self.write_rate();
        let gate = Gate::of_service(self.authenticator.clone(), surface.access, tokens, rate);
        let process = Process {
            name: self.name,
            metrics: self.metrics,
            tracer: self.tracer,
            tasks: self.tasks,
            listener: self.listener,
            tls: None,
            management_listener: self.management_listener,
            management: self.management,
            management_paths: self.management_paths,
            db: Some(self.db),
            authenticator: self.authenticator,
            gate: Some(gate),
        };
        process.serve(surface, routes, Exposure::Internal, |routes| routes)
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
