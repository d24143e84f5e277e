//! The processes that are measured, with their CPU time and memory.

use anyhow::{Context, bail};
use chaos::servers::Servers;
use chassis::base::config::DatabaseUrl;
use gateway::services::{SERVICES, processes};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A process, with the addresses that it printed.
struct Process {
    child: Child,
    listens: BTreeMap<String, SocketAddr>,
}

impl Process {
    /// Starts a program from the folder of this one, and waits until it has printed `lines` addresses.
    fn start(
        program: &str,
        arguments: &[&str],
        settings: &[(&str, String)],
        lines: usize,
    ) -> anyhow::Result<Self> {
        let path = std::env::current_exe()?.with_file_name(program);
        let mut child = Command::new(&path)
            .args(arguments)
            .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
            .env("RUST_LOG", "warn,librdkafka=off,rdkafka=off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}; build the workspace first", path.display()))?;
        let stdout = child.stdout.take().context("the child has a standard output")?;
        let mut listens = BTreeMap::new();
        for line in BufReader::new(stdout).lines().take(lines) {
            let line = line?;
            let Some((name, addr)) = line.split_once(" listens on http://") else {
                bail!("{program} printed {line:?}");
            };
            listens.insert(name.to_owned(), addr.parse()?);
        }
        anyhow::ensure!(listens.len() == lines, "{program} did not start");
        Ok(Self { child, listens })
    }

    /// Returns its CPU time so far, in seconds.
    fn cpu(&self) -> f64 {
        chaos::cpu_time(self.child.id()).as_secs_f64()
    }

    /// Returns its resident memory in MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a service that runs alone has its data.
pub(crate) enum Storage {
    Dir(TempDir),
    Servers(Servers),
}

impl Storage {
    pub(crate) fn new(real: bool) -> anyhow::Result<Self> {
        Ok(if real { Self::Servers(Servers::start()?) } else { Self::Dir(tempfile::tempdir()?) })
    }

    /// Returns the URL of the database of a service.
    pub(crate) fn database(&self, service: &str) -> anyhow::Result<DatabaseUrl> {
        let url = match self {
            Self::Dir(dir) => database_in(dir.path(), service),
            Self::Servers(servers) => servers.database(service),
        };
        url.parse().map_err(anyhow::Error::msg)
    }
}

/// Returns the URL of the SQLite database of a service in a directory.
pub(crate) fn database_in(dir: &Path, service: &str) -> String {
    format!("sqlite:{}", dir.join(format!("{service}.db")).display())
}

/// Returns the name of this program.
fn itself() -> anyhow::Result<String> {
    let program = std::env::current_exe()?;
    Ok(program.file_name().and_then(|name| name.to_str()).context("it has a name")?.to_owned())
}

/// The processes under measurement: the shop, a part of it, or a floor.
pub(crate) struct Shop {
    processes: Vec<Process>,
    /// Time from the first start of a process until all were ready.
    pub(crate) started: Duration,
    _dir: Option<TempDir>,
    _servers: Option<Servers>,
}

impl Shop {
    /// Starts five processes on Kafka and Postgres where `real`, else one process with its own log and SQLite.
    pub(crate) async fn start(real: bool) -> anyhow::Result<Self> {
        if real { Self::real().await } else { Self::embedded().await }
    }

    /// Starts the shop as one process, on SQLite and the embedded log.
    async fn embedded() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let names: Vec<String> = processes()
            .into_iter()
            .chain(["management"])
            .map(|name| format!("{}_ADDR", name.to_uppercase()))
            .collect();
        let addresses = names.iter().map(|name| (name.as_str(), "127.0.0.1:0".to_owned()));
        let mut settings: Vec<(&str, String)> = addresses.collect();
        settings.push(("DATA_DIR", dir.path().display().to_string()));
        let began = Instant::now();
        let process = Process::start("standalone", &[], &settings, processes().len())?;
        let mut shop = Self {
            processes: vec![process],
            started: Duration::ZERO,
            _dir: Some(dir),
            _servers: None,
        };
        shop.ready().await?;
        shop.started = began.elapsed();
        Ok(shop)
    }

    /// Starts the shop as a process for each service and one for the gateway, on Kafka and Postgres.
    async fn real() -> anyhow::Result<Self> {
        let servers = Servers::start()?;
        let began = Instant::now();
        let mut processes = Vec::new();
        let mut urls: Vec<(String, String)> = Vec::new();
        for service in SERVICES {
            let mut settings = vec![
                ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
                ("MANAGEMENT_ADDR", "127.0.0.1:0".to_owned()),
                ("DATABASE_URL", servers.database(service.name)),
                ("KAFKA_BROKERS", servers.brokers()),
            ];
            settings.extend(urls.iter().map(|(name, url)| (name.as_str(), url.clone())));
            let process = Process::start(service.name, &[], &settings, 1)?;
            urls.push((service.url_setting(), format!("http://{}", process.listens[service.name])));
            processes.push(process);
        }
        let mut settings = vec![
            ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
            ("MANAGEMENT_ADDR", "127.0.0.1:0".to_owned()),
        ];
        settings.extend(urls.iter().map(|(name, url)| (name.as_str(), url.clone())));
        processes.push(Process::start("gateway", &[], &settings, 1)?);
        let mut shop =
            Self { processes, started: Duration::ZERO, _dir: None, _servers: Some(servers) };
        shop.ready().await?;
        shop.started = began.elapsed();
        Ok(shop)
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
                let nowhere = "http://127.0.0.1:9".to_owned(); // it makes no calls
                let settings = [
                    ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
                    ("MANAGEMENT_ADDR", "127.0.0.1:0".to_owned()),
                    ("DATABASE_URL", servers.database(service)),
                    ("KAFKA_BROKERS", servers.brokers()),
                    ("GIFTICON_URL", nowhere),
                ];
                Process::start(service, &[], &settings, 1)?
            }
        };
        let mut shop =
            Self { processes: vec![process], started: Duration::ZERO, _dir: None, _servers: None };
        shop.ready().await?;
        shop.started = began.elapsed();
        Ok(shop)
    }

    /// Starts a floor: this program, with another argument.
    pub(crate) fn floor(name: &str, lines: usize) -> anyhow::Result<Self> {
        let process = Process::start(&itself()?, &["--stand", name], &[], lines)?;
        Ok(Self { processes: vec![process], started: Duration::ZERO, _dir: None, _servers: None })
    }

    /// Waits until all processes are ready.
    async fn ready(&self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_mins(1);
        for addr in self.processes.iter().flat_map(|process| process.listens.values()) {
            let web = chaos::ShopClient::new(format!("http://{addr}"));
            while !web.is_ready().await {
                anyhow::ensure!(Instant::now() < until, "{addr} was not ready in time");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    /// Stops all processes by SIGSTOP for `time`.
    pub(crate) async fn pause(&self, time: Duration) -> anyhow::Result<()> {
        let all: Vec<String> =
            self.processes.iter().map(|process| process.child.id().to_string()).collect();
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
        let found = self.processes.iter().find_map(|process| process.listens.get(service));
        *found.unwrap_or_else(|| panic!("nothing is called {service}"))
    }

    /// Returns a client of a service, for requests that are not measured.
    pub(crate) fn web(&self, service: &str) -> chaos::ShopClient {
        chaos::ShopClient::new(format!("http://{}", self.addr(service)))
    }

    /// Returns the CPU time of all processes so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.processes.iter().map(Process::cpu).sum()
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
