//! What is measured: the shop, a part of it, a floor, or another implementation of the shop.

use crate::process::{Process, itself};
use crate::storage::Storage;
use anyhow::Context;
use chaos::account::Account;
use chaos::proxy::Proxy;
use chaos::servers::Servers;
use chassis::test_issuer::TestIssuer;
use gateway::services::{SERVICES, processes};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// The gateway as a process of its own, before a floor.
pub(crate) const GATEWAY_ALONE: &str = "gateway alone";

/// What the processes under measurement are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The whole shop.
    Shop,
    /// A floor, or one service: nothing follows from a request.
    Part,
    /// Another implementation, which the bench did not start.
    Rival,
}

/// The processes under measurement.
pub(crate) struct Shop {
    pub(crate) kind: Kind,
    processes: Vec<Process>,
    /// Where each service listens, or the proxy in front of its replicas.
    addrs: BTreeMap<String, SocketAddr>,
    /// Time from the first start of a process until all were ready.
    pub(crate) started: Duration,
    /// Whose tokens it believes.
    issuer: Option<TestIssuer>,
    storage: Option<Storage>,
}

impl Shop {
    /// Starts five processes on Kafka and Postgres where `real`, else one process with its own log and SQLite.
    pub(crate) async fn start(real: bool) -> anyhow::Result<Self> {
        Self::on(Storage::new(real)?).await
    }

    /// Starts the shop with an issuer of tokens.
    pub(crate) async fn with_issuer(real: bool, issuer: TestIssuer) -> anyhow::Result<Self> {
        Self::start_on(Storage::new(real)?, Some(issuer)).await
    }

    /// Starts the shop on data that are there.
    pub(crate) async fn on(storage: Storage) -> anyhow::Result<Self> {
        Self::start_on(storage, None).await
    }

    async fn start_on(storage: Storage, issuer: Option<TestIssuer>) -> anyhow::Result<Self> {
        let began = Instant::now();
        let auth = issuer.as_ref().map(|issuer| ("AUTH_ISSUER", issuer.url.clone()));
        let (processes, addrs) = match &storage {
            Storage::Dir(dir) => embedded(dir.path(), auth)?,
            Storage::Servers(servers) => five(servers, None, auth)?,
        };
        let shop = Self::ready(Kind::Shop, processes, addrs, began, Some(storage)).await?;
        Ok(Self { issuer, ..shop })
    }

    /// Starts `count` replicas of each of the four services on Kafka and Postgres, each service behind a proxy that distributes
    /// connections, and one gateway.
    pub(crate) async fn replicated(count: usize) -> anyhow::Result<Self> {
        let servers = Servers::start_to_measure()?;
        let began = Instant::now();
        let (processes, addrs) = five(&servers, Some(count), None)?;
        Self::ready(Kind::Shop, processes, addrs, began, Some(Storage::Servers(servers))).await
    }

    /// Starts one service alone, on data that are there.
    pub(crate) async fn alone(service: &str, storage: &Storage) -> anyhow::Result<Self> {
        let began = Instant::now();
        let process = match storage {
            Storage::Dir(dir) => {
                let dir = dir.path().display().to_string();
                Process::start(&itself()?, &["--stand", service, "--data-dir", &dir], &[], 1)?
            }
            Storage::Servers(servers) => {
                let mut settings = settings(servers, service);
                settings.push(("GIFTICON_URL", "http://127.0.0.1:9".to_owned())); // it makes no calls
                Process::start(service, &[], &settings, 1)?
            }
        };
        let addrs = process.listens.clone();
        Self::ready(Kind::Part, vec![process], addrs, began, None).await
    }

    /// Starts a floor: this program, with another argument.
    pub(crate) fn floor(name: &str, lines: usize) -> anyhow::Result<Self> {
        let process = Process::start(&itself()?, &["--stand", name], &[], lines)?;
        let addrs = process.listens.clone();
        Ok(Self {
            kind: Kind::Part,
            processes: vec![process],
            addrs,
            started: Duration::ZERO,
            issuer: None,
            storage: None,
        })
    }

    /// Starts the gateway program before gifticon of this floor, under the name [`GATEWAY_ALONE`].
    pub(crate) fn add_gateway(&mut self) -> anyhow::Result<()> {
        let url = format!("http://{}", self.addr("gifticon"));
        let urls = SERVICES.map(|service| (service.url_setting(), url.clone()));
        let gateway = gateway(&urls, None)?;
        self.addrs.insert(GATEWAY_ALONE.to_owned(), gateway.listens["gateway"]);
        self.processes.push(gateway);
        Ok(())
    }

    /// Returns another implementation, whose gateway listens at `addr`.
    pub(crate) fn rival(addr: SocketAddr) -> Self {
        Self {
            kind: Kind::Rival,
            processes: vec![],
            addrs: BTreeMap::from([("gateway".to_owned(), addr)]),
            started: Duration::ZERO,
            issuer: None,
            storage: None,
        }
    }

    /// Waits until all processes are ready.
    async fn ready(
        kind: Kind,
        processes: Vec<Process>,
        addrs: BTreeMap<String, SocketAddr>,
        began: Instant,
        storage: Option<Storage>,
    ) -> anyhow::Result<Self> {
        let until = Instant::now() + Duration::from_mins(1);
        for addr in processes.iter().flat_map(|process| process.listens.values()) {
            let web = chaos::ShopClient::new(format!("http://{addr}"));
            while !web.is_ready().await {
                anyhow::ensure!(Instant::now() < until, "{addr} was not ready in time");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let started = began.elapsed();
        Ok(Self { kind, processes, addrs, started, issuer: None, storage })
    }

    /// Stops all processes by SIGSTOP for `time`.
    pub(crate) async fn pause(&self, time: Duration) -> anyhow::Result<()> {
        let all: Vec<String> =
            self.processes.iter().map(|process| process.id().to_string()).collect();
        let signal = |signal: &str| {
            let done = Command::new("kill").arg(signal).args(&all).status()?;
            anyhow::ensure!(done.success(), "kill {signal} failed");
            Ok(())
        };
        signal("-STOP")?;
        tokio::time::sleep(time).await;
        signal("-CONT")
    }

    /// Returns the address of a service.
    pub(crate) fn addr(&self, service: &str) -> SocketAddr {
        *self.addrs.get(service).unwrap_or_else(|| panic!("nothing is called {service}"))
    }

    /// Returns a client of a service, for requests that are not measured: the operator's, if there is an issuer.
    pub(crate) fn web(&self, service: &str) -> chaos::ShopClient {
        let web = chaos::ShopClient::new(format!("http://{}", self.addr(service)));
        match &self.issuer {
            Some(issuer) => web.by(Account::new(issuer, "ops", "operator").into()),
            None => web,
        }
    }

    /// Returns a token of one of those who register gifticons, if there is an issuer. One alone may write 20 times a second.
    pub(crate) fn token_of_md(&self, number: usize) -> Option<String> {
        self.issuer.as_ref().map(|issuer| issuer.token(&format!("md-{number}"), &["md"]))
    }

    /// Returns true if it is on Kafka and Postgres.
    pub(crate) fn is_on_servers(&self) -> bool {
        matches!(self.storage, Some(Storage::Servers(_)))
    }

    /// Returns the CPU time of all processes so far, in seconds. `None` of a rival, whose processes are unknown.
    pub(crate) fn cpu(&self) -> Option<f64> {
        let known = self.kind != Kind::Rival;
        known.then(|| self.processes.iter().map(Process::cpu).sum())
    }

    /// Returns the resident memory of each process in MiB.
    pub(crate) fn memory(&self) -> Vec<(String, f64)> {
        let name = |process: &Process| match process.listens.len() {
            1 => process.listens.keys().next().cloned().unwrap_or_default(),
            _ => "standalone".to_owned(),
        };
        self.processes.iter().map(|process| (name(process), process.memory())).collect()
    }
}

type Started = (Vec<Process>, BTreeMap<String, SocketAddr>);

/// The setting of who may do what.
type Auth = Option<(&'static str, String)>;

/// Starts the shop as one process, on SQLite and the embedded log in `dir`.
fn embedded(dir: &Path, auth: Auth) -> anyhow::Result<Started> {
    let listeners = processes().into_iter().chain(["management"]);
    let listeners: Vec<_> = listeners.map(|name| format!("{}_ADDR", name.to_uppercase())).collect();
    let mut settings: Vec<(&str, String)> =
        listeners.iter().map(|name| (name.as_str(), "127.0.0.1:0".to_owned())).collect();
    settings.push(("DATA_DIR", dir.display().to_string()));
    settings.extend(auth);
    let process = Process::start("standalone", &[], &settings, processes().len())?;
    let addrs = process.listens.clone();
    Ok((vec![process], addrs))
}

/// Starts the shop as five processes, on Kafka and Postgres. With `replicas`, each service has so many behind a proxy, which
/// share the cores.
fn five(servers: &Servers, replicas: Option<usize>, auth: Auth) -> anyhow::Result<Started> {
    let (mut processes, mut addrs) = (Vec::new(), BTreeMap::new());
    let mut urls: Vec<(String, String)> = Vec::new();
    for service in SERVICES {
        let name = service.name;
        let mut settings = settings(servers, name);
        settings.extend(urls.iter().map(|(name, url)| (name.as_str(), url.clone())));
        settings.extend(auth.clone());
        if let Some(count) = replicas {
            let threads = (available_parallelism()?.get() / count).max(1);
            settings.push(("TOKIO_WORKER_THREADS", threads.to_string()));
        }
        let mut backends = Vec::new();
        for _ in 0..replicas.unwrap_or(1) {
            let process = Process::start(name, &[], &settings, 1)?;
            backends.push(process.listens[name]);
            processes.push(process);
        }
        let addr = if replicas.is_some() { proxy(backends)? } else { backends[0] };
        urls.push((service.url_setting(), format!("http://{addr}")));
        addrs.insert(name.to_owned(), addr);
    }
    let gateway = gateway(&urls, auth)?;
    addrs.extend(gateway.listens.clone());
    processes.push(gateway);
    Ok((processes, addrs))
}

/// Starts the gateway before services, whose settings with their URLs are `urls`.
fn gateway(urls: &[(String, String)], auth: Auth) -> anyhow::Result<Process> {
    let listeners = ["LISTEN_ADDR", "MANAGEMENT_ADDR"].map(|name| (name, "127.0.0.1:0".to_owned()));
    let mut settings = listeners.to_vec();
    settings.extend(urls.iter().map(|(name, url)| (name.as_str(), url.clone())));
    settings.extend(auth);
    Process::start("gateway", &[], &settings, 1)
}

/// Returns the settings of a service on Kafka and Postgres.
fn settings<'s>(servers: &Servers, service: &str) -> Vec<(&'s str, String)> {
    vec![
        ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
        ("MANAGEMENT_ADDR", "127.0.0.1:0".to_owned()),
        ("DATABASE_URL", servers.database(service)),
        ("KAFKA_BROKERS", servers.brokers()),
    ]
}

/// Starts a proxy in front of replicas, and returns its address.
fn proxy(replicas: Vec<SocketAddr>) -> anyhow::Result<SocketAddr> {
    let proxy = Proxy::start(1)?;
    proxy.set_backends(replicas);
    Ok(proxy.url().strip_prefix("http://").context("the URL has a scheme")?.parse()?)
}
