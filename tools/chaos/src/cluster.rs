//! The replicas of the five services as processes, each service behind a proxy, on a real Kafka and a real Postgres.

use crate::ShopClient;
use crate::proxy::Proxy;
use crate::servers::{Servers, signal};
use anyhow::{Context, bail, ensure};
use gateway::services::{SERVICES, processes};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Bound for a new replica to be ready.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Bound for a drain: above `SHUTDOWN_GRACE`, which is 20 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// Interval between two checks of a process.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// One process of a service.
#[derive(Debug)]
struct Replica {
    child: Child,
    addr: SocketAddr,
    /// Serves metrics and the management routes.
    management_addr: SocketAddr,
}

/// A running cluster. Dropping it ends all of its processes.
#[derive(Debug)]
pub struct Cluster {
    replicas: BTreeMap<(&'static str, usize), Option<Replica>>,
    proxies: BTreeMap<&'static str, Proxy>,
    /// Timeout of a call from cart to gifticon.
    gifticon_timeout: Duration,
    /// Worker threads of a replica: its share of the cores.
    threads: usize,
    /// The settings of who may do what.
    auth: Vec<(&'static str, String)>,
    /// The last field, so that the servers are dropped after the processes that use them.
    pub servers: Servers,
}

impl Cluster {
    /// Starts `count` replicas of each process, which believe the tokens of `issuer`, if there is one. `gifticon_timeout` is the
    /// timeout of a call from cart to gifticon.
    pub fn start(
        count: usize,
        seed: u64,
        gifticon_timeout: Duration,
        issuer: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut proxies = BTreeMap::new();
        for service in processes() {
            proxies.insert(service, Proxy::start(seed)?);
        }
        let servers = Servers::start()?;
        let threads = (std::thread::available_parallelism()?.get() / count.max(1)).max(1);
        let mut cluster = Self {
            replicas: BTreeMap::new(),
            proxies,
            gifticon_timeout,
            threads,
            auth: auth(issuer),
            servers,
        };
        for service in processes() {
            for number in 0..count {
                cluster.start_replica(service, number)?;
            }
        }
        Ok(cluster)
    }

    /// Returns a client of the gateway.
    pub fn gateway(&self) -> ShopClient {
        ShopClient::new(self.proxy("gateway").url())
    }

    /// Returns the proxy in front of the replicas of a service.
    pub fn proxy(&self, service: &str) -> &Proxy {
        &self.proxies[service]
    }

    /// Returns a client of each running replica of a service, past its proxy.
    pub fn clients(&self, service: &str) -> Vec<ShopClient> {
        self.addrs(service)
            .into_iter()
            .map(|addr| ShopClient::new(format!("http://{addr}")))
            .collect()
    }

    /// Returns a client of the management address of each running replica of a service.
    pub fn management_clients(&self, service: &str) -> Vec<ShopClient> {
        let addrs = self.running(service).map(|replica| replica.management_addr);
        addrs.map(|addr| ShopClient::new(format!("http://{addr}"))).collect()
    }

    fn addrs(&self, service: &str) -> Vec<SocketAddr> {
        self.running(service).map(|replica| replica.addr).collect()
    }

    fn running(&self, service: &str) -> impl Iterator<Item = &Replica> {
        let of = self.replicas.iter().filter(move |((name, _), _)| *name == service);
        of.filter_map(|(_, replica)| replica.as_ref())
    }

    /// Starts a replica on a free port, and adds it to the backends of its proxy.
    pub fn start_replica(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let replica = self.launch(service, number)?;
        self.replicas.insert((service, number), Some(replica));
        self.proxies[service].set_backends(self.addrs(service));
        Ok(())
    }

    /// Starts a replica on a free port, and adds it to the backends of its proxy once it is ready: until then Kubernetes sends
    /// it nothing either.
    pub async fn start_ready_replica(
        &mut self,
        service: &'static str,
        number: usize,
    ) -> anyhow::Result<()> {
        let replica = self.launch(service, number)?;
        let addr = replica.addr;
        self.replicas.insert((service, number), Some(replica));
        wait_until_ready(service, addr).await?;
        self.proxies[service].set_backends(self.addrs(service));
        Ok(())
    }

    fn launch(&self, service: &'static str, number: usize) -> anyhow::Result<Replica> {
        let urls = SERVICES.map(|of| (of.url_setting(), self.proxies[of.name].url()));
        let mut settings = vec![
            ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
            ("MANAGEMENT_ADDR", "127.0.0.1:0".to_owned()),
            ("GIFTICON_TIMEOUT_MS", self.gifticon_timeout.as_millis().to_string()),
            ("TOKIO_WORKER_THREADS", self.threads.to_string()),
        ];
        settings.extend(urls.iter().map(|(name, url)| (name.as_str(), url.clone())));
        settings.extend(self.auth.iter().cloned());
        if service != "gateway" {
            settings.push(("DATABASE_URL", self.servers.database(service)));
            settings.push(("KAFKA_BROKERS", self.servers.brokers()));
        }
        self.spawn(service, number, &settings)
    }

    /// Starts a process, whose program is in the directory of this one, and reads its addresses.
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
        let stdout = child.stdout.take().context("the child has a standard output")?;
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

    /// Ends a replica by SIGKILL.
    pub fn kill(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let mut replica = self.take(service, number)?;
        replica.child.kill()?;
        replica.child.wait()?;
        Ok(())
    }

    /// Ends a replica by SIGTERM, and fails if its exit code is not 0.
    pub async fn terminate(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let replica = self.take(service, number)?;
        drain(service, replica).await
    }

    /// Replaces a replica in the order of Kubernetes: waits until the new one is ready, changes the backends of
    /// the proxy, waits for `delay`, and ends the old one by SIGTERM.
    pub async fn replace(
        &mut self,
        service: &'static str,
        number: usize,
        delay: Duration,
    ) -> anyhow::Result<()> {
        let old = self.take(service, number)?;
        self.start_ready_replica(service, number).await?;
        sleep(delay).await;
        drain(service, old).await
    }

    /// Stops a replica by SIGSTOP for a while.
    pub async fn pause(
        &mut self,
        service: &'static str,
        number: usize,
        time: Duration,
    ) -> anyhow::Result<()> {
        let replica = self.replicas.get(&(service, number)).and_then(Option::as_ref);
        let pid = replica.context("no such replica runs")?.child.id().to_string();
        signal("-STOP", &pid)?;
        sleep(time).await;
        signal("-CONT", &pid)
    }

    fn take(&mut self, service: &'static str, number: usize) -> anyhow::Result<Replica> {
        self.replicas
            .get_mut(&(service, number))
            .and_then(Option::take)
            .context("no such replica runs")
    }
}

/// Returns the settings of who may do what. Customers of a drill write more often than people do.
fn auth(issuer: Option<&str>) -> Vec<(&'static str, String)> {
    let Some(issuer) = issuer else { return Vec::new() };
    let settings = [("AUTH_ISSUER", issuer), ("AUTH_GUESTS", "deny"), ("RATE_LIMIT_WRITES", "0")];
    settings.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// Waits until a new replica is ready.
async fn wait_until_ready(service: &str, addr: SocketAddr) -> anyhow::Result<()> {
    let web = ShopClient::new(format!("http://{addr}"));
    let until = Instant::now() + READY_TIMEOUT;
    while !web.is_ready().await {
        let waits = Instant::now() < until;
        ensure!(waits, "a new {service} was not ready within {READY_TIMEOUT:?}");
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Sends SIGTERM, and waits until the process has ended with exit code 0.
async fn drain(service: &str, mut replica: Replica) -> anyhow::Result<()> {
    signal("-TERM", &replica.child.id().to_string())?;
    let until = Instant::now() + DRAIN_TIMEOUT;
    loop {
        if let Some(status) = replica.child.try_wait()? {
            ensure!(status.success(), "{service} ended with {status} after SIGTERM");
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{service} did not end within {DRAIN_TIMEOUT:?} after SIGTERM"
        );
        sleep(POLL_INTERVAL).await;
    }
}

impl Drop for Replica {
    /// Ends it, if it still runs.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
