//! Kafka, Postgres and two of each service as processes on loopback.

use crate::Web;
use crate::proxy::Proxy;
use anyhow::{Context, bail, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::time::sleep;

/// The services that have a database, and replicas.
pub const SERVICES: [&str; 4] = ["gifticon", "cart", "payment", "mypage"];
/// How long a process may take to be there.
const PATIENCE: Duration = Duration::from_mins(1);

/// One process of a service.
#[derive(Debug)]
struct Replica {
    child: Child,
    addr: SocketAddr,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    kafka_port: u16,
    postgres_port: u16,
    replicas: BTreeMap<(&'static str, usize), Option<Replica>>,
    gateway: Option<Replica>,
    fronts: BTreeMap<&'static str, Proxy>,
    gateway_port: u16,
}

impl Cluster {
    /// Starts all of it, with `count` replicas of each service.
    pub async fn start(count: usize, seed: u64) -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        let mut fronts = BTreeMap::new();
        for service in SERVICES {
            fronts.insert(service, Proxy::start(seed).await?);
        }
        let mut cluster = Self {
            dir: tempfile::tempdir()?,
            kafka_port: free_port()?,
            postgres_port: free_port()?,
            replicas: BTreeMap::new(),
            gateway: None,
            fronts,
            gateway_port: free_port()?,
        };
        cluster.start_postgres()?;
        cluster.start_kafka()?;
        for service in SERVICES {
            for number in 0..count {
                cluster.start_replica(service, number)?;
            }
        }
        cluster.start_gateway()?;
        Ok(cluster)
    }

    /// The way in.
    pub fn web(&self) -> Web {
        Web::new(format!("http://127.0.0.1:{}", self.gateway_port))
    }

    /// The broker.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    /// The database of a service.
    pub fn database(&self, service: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{service}", self.postgres_port)
    }

    /// What stands before the replicas of a service.
    pub fn front(&self, service: &str) -> &Proxy {
        &self.fronts[service]
    }

    /// Where logs are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self, name: &str) -> anyhow::Result<File> {
        let file = self.dir.path().join(format!("{name}.log"));
        Ok(File::options().create(true).append(true).open(file)?)
    }

    fn start_kafka(&self) -> anyhow::Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/kafka-up");
        let up = Command::new(script)
            .arg(self.dir.path().join("kafka"))
            .arg(self.kafka_port.to_string())
            .env("KAFKA_WAIT", "120")
            .stdout(self.log("kafka-up")?)
            .stderr(self.log("kafka-up")?)
            .status()?;
        if !up.success() {
            let said = |file: &str| {
                std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
            };
            let last = |text: String| {
                text.chars().skip(text.len().saturating_sub(1_500)).collect::<String>()
            };
            bail!(
                "Kafka did not start: {} … {}",
                last(said("kafka-up.log")),
                last(said("kafka/kafka.log"))
            );
        }
        Ok(())
    }

    /// kill -9 of the broker, and a start on the same data.
    pub fn restart_kafka(&self) -> anyhow::Result<()> {
        let pid = std::fs::read_to_string(self.dir.path().join("kafka/pid"))?;
        signal("-KILL", pid.trim())?;
        // Its threads die one after the other, and the last of them lets the port go.
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.kafka_port)).is_ok() {
            ensure!(Instant::now() < until, "Kafka outlives kill -9");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.start_kafka()
    }

    fn start_postgres(&self) -> anyhow::Result<()> {
        let dir = self.dir.path().join("postgres");
        std::fs::create_dir(&dir)?;
        // initdb refuses to run as root, and the user postgres must get in.
        Command::new("chmod").arg("755").arg(self.dir.path()).status()?;
        if is_root()? {
            Command::new("chown").arg("postgres").arg(&dir).status()?;
        }
        let data = dir.join("data");
        self.postgres(&format!("initdb -D {} -A trust -U postgres", data.display()))?;
        let conf = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
             max_connections = 300\nfsync = off\n",
            self.postgres_port
        );
        let file = data.join("postgresql.conf");
        let text = std::fs::read_to_string(&file)? + &conf;
        std::fs::write(&file, text)?;
        self.postgres(&format!("pg_ctl -D {} -l {}/log -w start", data.display(), dir.display()))?;
        for service in SERVICES {
            let server = format!("-h 127.0.0.1 -p {} -U postgres", self.postgres_port);
            self.postgres(&format!("createdb {server} {service}"))?;
        }
        Ok(())
    }

    /// An immediate restart: as if the server had been killed, with recovery at the start. (`fsync` is
    /// off, since nobody pulls the machine's plug here; what was committed is with the kernel.)
    pub fn restart_postgres(&self) -> anyhow::Result<()> {
        let dir = self.dir.path().join("postgres");
        let (data, log) = (dir.join("data"), dir.join("log"));
        self.postgres(&format!(
            "pg_ctl -D {} -l {} -m immediate -w restart",
            data.display(),
            log.display()
        ))
    }

    /// Runs one of Postgres' programs.
    fn postgres(&self, program: &str) -> anyhow::Result<()> {
        let mut bins: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")?
            .map(|one| Ok(one?.path()))
            .collect::<std::io::Result<_>>()?;
        bins.sort();
        let bin = bins.pop().context("no Postgres is installed")?.join("bin");
        let program = format!("{}/{program}", bin.display());
        let mut command = if is_root()? {
            let mut command = Command::new("su");
            command.args(["postgres", "-s", "/bin/sh", "-c", &program]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", &program]);
            command
        };
        let status = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(self.log("postgres")?)
            .stderr(self.log("postgres")?)
            .status()?;
        ensure!(
            status.success(),
            "`{program}` failed: see {}/postgres.log",
            self.dir.path().display()
        );
        Ok(())
    }

    /// Starts a replica, on a free port, and puts it behind its front.
    pub fn start_replica(&mut self, service: &'static str, number: usize) -> anyhow::Result<()> {
        let settings = [
            ("DATABASE_URL", self.database(service)),
            ("KAFKA_BROKERS", self.brokers()),
            ("GIFTICON_URL", self.fronts["gifticon"].url()),
            ("GIFTICON_TIMEOUT_MS", "1000".into()),
            ("LISTEN_ADDR", "127.0.0.1:0".into()),
        ];
        let replica = self.spawn(service, &format!("{service}-{number}"), &settings)?;
        self.replicas.insert((service, number), Some(replica));
        let of = self.replicas.iter().filter(|((name, _), _)| *name == service);
        let addrs =
            of.filter_map(|(_, replica)| replica.as_ref().map(|replica| replica.addr)).collect();
        self.fronts[service].lead_to(addrs);
        Ok(())
    }

    /// Starts the gateway, always on the same port.
    pub fn start_gateway(&mut self) -> anyhow::Result<()> {
        let url = |service: &str| self.fronts[service].url();
        let settings = [
            ("GIFTICON_URL", url("gifticon")),
            ("CART_URL", url("cart")),
            ("PAYMENT_URL", url("payment")),
            ("MYPAGE_URL", url("mypage")),
            ("LISTEN_ADDR", format!("127.0.0.1:{}", self.gateway_port)),
        ];
        self.gateway = Some(self.spawn("gateway", "gateway", &settings)?);
        Ok(())
    }

    /// The services are built beside this program.
    fn spawn(
        &self,
        binary: &str,
        log: &str,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Replica> {
        let path = std::env::current_exe()?.with_file_name(binary);
        let mut child = Command::new(&path)
            .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
            .env("RUST_LOG", "warn,librdkafka=off,rdkafka=off,chassis::http=error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log(log)?)
            .spawn()
            .with_context(|| format!("cannot run {}; build the workspace first", path.display()))?;
        let stdout = child.stdout.take().context("it has an output")?;
        let line = BufReader::new(stdout).lines().next().transpose()?.unwrap_or_default();
        let Some((_, addr)) = line.split_once(" listens on http://") else {
            bail!("{binary} did not start: see {}/{log}.log", self.dir.path().display());
        };
        Ok(Replica { child, addr: addr.parse()? })
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
        let mut replica = self.take(service, number)?;
        signal("-TERM", &replica.child.id().to_string())?;
        let until = Instant::now() + Duration::from_secs(25);
        loop {
            if let Some(status) = replica.child.try_wait()? {
                ensure!(status.success(), "{service} did not drain well: {status}");
                return Ok(());
            }
            ensure!(Instant::now() < until, "{service} did not drain in time");
            sleep(Duration::from_millis(20)).await;
        }
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

    /// kill -9 of the gateway, and a start on the same port.
    pub fn restart_gateway(&mut self) -> anyhow::Result<()> {
        if let Some(mut gateway) = self.gateway.take() {
            gateway.child.kill()?;
            gateway.child.wait()?;
        }
        self.start_gateway()
    }

    fn take(&mut self, service: &'static str, number: usize) -> anyhow::Result<Replica> {
        self.replicas
            .get_mut(&(service, number))
            .and_then(Option::take)
            .context("there is such a replica")
    }
}

impl Drop for Cluster {
    /// Leaves nothing running.
    fn drop(&mut self) {
        for replica in self.replicas.values_mut().chain([&mut self.gateway]).flatten() {
            let _ = replica.child.kill();
            let _ = replica.child.wait();
        }
        if let Ok(pid) = std::fs::read_to_string(self.dir.path().join("kafka/pid")) {
            let _ = signal("-KILL", pid.trim());
        }
        let data = self.dir.path().join("postgres/data");
        let _ = self.postgres(&format!("pg_ctl -D {} -m immediate -w stop", data.display()));
    }
}

fn signal(signal: &str, pid: &str) -> anyhow::Result<()> {
    ensure!(Command::new("kill").args([signal, pid]).status()?.success(), "no process {pid}");
    Ok(())
}

fn is_root() -> anyhow::Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout.trim_ascii() == b"0")
}

/// A port that nobody listens on, and neither on the next (Kafka's controller takes it).
///
/// Below those that the kernel gives to clients: while a server is down, a client that tries to reach
/// it could be given the very port, and then talks to itself and keeps the server out.
fn free_port() -> anyhow::Result<u16> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
    let first = u16::try_from(now % 12_000)?;
    for step in 0..12_000 {
        let port = 20_000 + (first + step) % 12_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 1) {
            return Ok(port);
        }
    }
    bail!("no free port")
}
