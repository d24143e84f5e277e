//! Two of each service as processes, each service behind a front, on a real Kafka and a real Postgres.

use crate::Web;
use crate::proxy::Proxy;
use crate::servers::{SERVICES, Servers, signal};
use anyhow::{Context, bail, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// All that have replicas: the services and the gateway.
pub const ALL: [&str; 5] = ["gifticon", "cart", "payment", "mypage", "gateway"];

/// How long a new replica may take to be ready.
const READY: Duration = Duration::from_mins(1);
/// How long a drain may take: `SHUTDOWN_GRACE`, which is 20 s, and some.
const DRAINS: Duration = Duration::from_secs(25);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// One process of a service.
#[derive(Debug)]
struct Replica {
    child: Child,
    addr: SocketAddr,
    /// Of metrics and of the routes for operators.
    management_addr: SocketAddr,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Cluster {
    replicas: BTreeMap<(&'static str, usize), Option<Replica>>,
    fronts: BTreeMap<&'static str, Proxy>,
    /// Budget of a reservation call.
    budget: Duration,
    /// Threads for the requests of a replica: its share of the cores.
    threads: usize,
    /// Last, so that they outlive those who use them.
    pub servers: Servers,
}

impl Cluster {
    /// Starts all of it, with `count` replicas of each, whose reservation calls may take `budget`.
    pub fn start(count: usize, seed: u64, budget: Duration) -> anyhow::Result<Self> {
        let mut fronts = BTreeMap::new();
        for service in ALL {
            fronts.insert(service, Proxy::start(seed)?);
        }
        let servers = Servers::start()?;
        let threads = (std::thread::available_parallelism()?.get() / count.max(1)).max(1);
        let mut cluster = Self { replicas: BTreeMap::new(), fronts, budget, threads, servers };
        for service in ALL {
            for number in 0..count {
                cluster.start_replica(service, number)?;
            }
        }
        Ok(cluster)
    }

    /// The way in.
    pub fn web(&self) -> Web {
        Web::new(self.front("gateway").url())
    }

    /// What stands before the replicas of a service.
    pub fn front(&self, service: &str) -> &Proxy {
        &self.fronts[service]
    }

    /// The replicas of a service, without its front.
    pub fn webs(&self, service: &str) -> Vec<Web> {
        self.addrs(service).into_iter().map(|addr| Web::new(format!("http://{addr}"))).collect()
    }

    /// The management addresses of the replicas of a service that run.
    pub fn management(&self, service: &str) -> Vec<Web> {
        let addrs = self.running(service).map(|replica| replica.management_addr);
        addrs.map(|addr| Web::new(format!("http://{addr}"))).collect()
    }

    fn addrs(&self, service: &str) -> Vec<SocketAddr> {
        self.running(service).map(|replica| replica.addr).collect()
    }

    fn running(&self, service: &str) -> impl Iterator<Item = &Replica> {
        let of = self.replicas.iter().filter(move |((name, _), _)| *name == service);
        of.filter_map(|(_, replica)| replica.as_ref())
    }

    /// Starts a replica, on a free port, and puts it behind its front.
    pub fn start_replica(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let replica = self.launch(service, number)?;
        self.replicas.insert((service, number), Some(replica));
        self.fronts[service].lead_to(self.addrs(service));
        Ok(())
    }

    fn launch(&self, service: &'static str, number: usize) -> anyhow::Result<Replica> {
        let url = |service: &str| self.fronts[service].url();
        let mut settings = vec![
            ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
            ("MANAGEMENT_ADDR", "127.0.0.1:0".to_owned()),
            ("GIFTICON_URL", url("gifticon")),
            ("CART_URL", url("cart")),
            ("PAYMENT_URL", url("payment")),
            ("MYPAGE_URL", url("mypage")),
            ("GIFTICON_TIMEOUT_MS", self.budget.as_millis().to_string()),
            ("TOKIO_WORKER_THREADS", self.threads.to_string()),
        ];
        if SERVICES.contains(&service) {
            settings.push(("DATABASE_URL", self.servers.database(service)));
            settings.push(("KAFKA_BROKERS", self.servers.brokers()));
        }
        self.spawn(service, number, &settings)
    }

    /// The services are built beside this program.
    fn spawn(
        &self,
        service: &str,
        number: usize,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Replica> {
        let path = std::env::current_exe()?.with_file_name(service);
        let log = format!("{service}-{number}");
        let mut child = Command::new(&path)
            .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
            .env(
                "RUST_LOG",
                "warn,librdkafka=off,rdkafka=off,chassis::http=error,chassis::bus=info",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.servers.log(&log)?)
            .spawn()
            .with_context(|| format!("cannot run {}; build the workspace first", path.display()))?;
        let stdout = child.stdout.take().context("it has an output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut addr = || -> anyhow::Result<SocketAddr> {
            let line = lines.next().transpose()?.unwrap_or_default();
            let Some((_, addr)) = line.split_once(" listens on http://") else {
                bail!("{service} did not start: see {}/{log}.log", self.servers.dir().display());
            };
            Ok(addr.parse()?)
        };
        Ok(Replica { addr: addr()?, management_addr: addr()?, child })
    }

    /// kill -9 of a replica.
    pub fn kill(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let mut replica = self.take(service, number)?;
        replica.child.kill()?;
        replica.child.wait()?;
        Ok(())
    }

    /// SIGTERM of a replica, which must end well.
    pub async fn terminate(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let replica = self.take(service, number)?;
        drain(service, replica).await
    }

    /// Puts a new replica in the place of an old one in Kubernetes' order: the new one is ready before
    /// its front leads to it and no longer to the old one, which is told to end `delay` after that.
    pub async fn replace(
        &mut self,
        service: &'static str,
        number: usize,
        delay: Duration,
    ) -> anyhow::Result<()> {
        let new = self.launch(service, number)?;
        let web = Web::new(format!("http://{}", new.addr));
        let old = self.replicas.insert((service, number), Some(new)).flatten();
        let old = old.context("there is such a replica")?;
        let until = Instant::now() + READY;
        while !web.is_ready().await {
            ensure!(Instant::now() < until, "a new {service} never was ready");
            sleep(LOOK).await;
        }
        self.fronts[service].lead_to(self.addrs(service));
        sleep(delay).await;
        drain(service, old).await
    }

    /// SIGSTOP of a replica for a while.
    pub async fn pause(
        &mut self,
        service: &'static str,
        number: usize,
        time: Duration,
    ) -> anyhow::Result<()> {
        let replica = self.replicas.get(&(service, number)).and_then(Option::as_ref);
        let pid = replica.context("there is such a replica")?.child.id().to_string();
        signal("-STOP", &pid)?;
        sleep(time).await;
        signal("-CONT", &pid)
    }

    fn take(&mut self, service: &'static str, number: usize) -> anyhow::Result<Replica> {
        self.replicas
            .get_mut(&(service, number))
            .and_then(Option::take)
            .context("there is such a replica")
    }
}

/// SIGTERM, and waits for a good end.
async fn drain(service: &str, mut replica: Replica) -> anyhow::Result<()> {
    signal("-TERM", &replica.child.id().to_string())?;
    let until = Instant::now() + DRAINS;
    loop {
        if let Some(status) = replica.child.try_wait()? {
            ensure!(status.success(), "{service} did not drain well: {status}");
            return Ok(());
        }
        ensure!(Instant::now() < until, "{service} did not drain in time");
        sleep(LOOK).await;
    }
}

impl Drop for Cluster {
    /// Leaves nothing running.
    fn drop(&mut self) {
        for replica in self.replicas.values_mut().flatten() {
            let _ = replica.child.kill();
            let _ = replica.child.wait();
        }
    }
}
