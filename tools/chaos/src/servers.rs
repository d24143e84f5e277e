//! The real Kafka and the real Postgres of a run, on loopback.

use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// The services that have a database.
pub const SERVICES: [&str; 4] = ["gifticon", "cart", "payment", "mypage"];
/// How long a process may take to be gone.
const PATIENCE: Duration = Duration::from_mins(1);

/// Kafka and Postgres, and a directory for them and all logs.
#[derive(Debug)]
pub struct Servers {
    dir: TempDir,
    kafka_port: u16,
    postgres_port: u16,
}

impl Servers {
    /// Starts both, with a database for each service.
    pub fn start() -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        let (dir, kafka_port) = (tempfile::tempdir()?, free_port()?);
        let mut postgres_port = free_port()?;
        while postgres_port.abs_diff(kafka_port) < 2 {
            postgres_port = free_port()?;
        }
        let servers = Self { dir, kafka_port, postgres_port };
        servers.make_postgres()?;
        servers.start_kafka()?;
        Ok(servers)
    }

    /// The broker.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    /// The database of a service.
    pub fn database(&self, service: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{service}", self.postgres_port)
    }

    /// Where logs are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The log of a process, to write more into.
    pub fn log(&self, name: &str) -> anyhow::Result<File> {
        let file = self.dir.path().join(format!("{name}.log"));
        Ok(File::options().create(true).append(true).open(file)?)
    }

    /// All logs, those of the servers last.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.dir.path()).into_iter().flatten();
        let mut logs: Vec<PathBuf> = files
            .filter_map(|file| Some(file.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        logs.extend(["kafka/kafka.log", "postgres/log"].map(|log| self.dir.path().join(log)));
        logs
    }

    /// Starts the broker, on the data that is there.
    pub fn start_kafka(&self) -> anyhow::Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/kafka-up");
        let up = Command::new(script)
            .arg(self.dir.path().join("kafka"))
            .arg(self.kafka_port.to_string())
            .env("KAFKA_WAIT", "300")
            // It lives for minutes, in which the JVM's second compiler takes more of the cores than it gives back.
            .env("KAFKA_JVM", "-XX:TieredStopAtLevel=1")
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

    /// kill -9 of the broker.
    pub fn kill_kafka(&self) -> anyhow::Result<()> {
        let pid = std::fs::read_to_string(self.dir.path().join("kafka/pid"))?;
        signal("-KILL", pid.trim())?;
        // Its threads die one after the other, and the last of them lets the port go.
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.kafka_port)).is_ok() {
            ensure!(Instant::now() < until, "Kafka outlives kill -9");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// SIGSTOP of the broker for a while, as a machine does that has no time or a disk that hangs.
    pub async fn pause_kafka(&self, time: Duration) -> anyhow::Result<()> {
        let pid = std::fs::read_to_string(self.dir.path().join("kafka/pid"))?;
        pause(&[pid.trim()], time).await
    }

    /// SIGSTOP of all processes of Postgres for a while.
    pub async fn pause_postgres(&self, time: Duration) -> anyhow::Result<()> {
        let file = self.dir.path().join("postgres/data/postmaster.pid");
        let file = std::fs::read_to_string(file)?;
        let postmaster = file.lines().next().context("the file has a pid")?;
        // The first, so that it starts no other meanwhile.
        signal("-STOP", postmaster)?;
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = std::fs::read_to_string(children)?;
        let all: Vec<&str> = children.split_whitespace().chain([postmaster]).collect();
        pause(&all, time).await
    }

    fn make_postgres(&self) -> anyhow::Result<()> {
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
        self.start_postgres()?;
        for service in SERVICES {
            let server = format!("-h 127.0.0.1 -p {} -U postgres", self.postgres_port);
            self.postgres(&format!("createdb {server} {service}"))?;
        }
        Ok(())
    }

    /// Starts Postgres, on the data that is there.
    pub fn start_postgres(&self) -> anyhow::Result<()> {
        self.pg_ctl("start")
    }

    /// Stops Postgres at once: as if it had been killed, with recovery at the next start. (`fsync` is
    /// off, since nobody pulls the machine's plug here; what was committed is with the kernel.)
    pub fn kill_postgres(&self) -> anyhow::Result<()> {
        self.pg_ctl("-m immediate stop")
    }

    fn pg_ctl(&self, what: &str) -> anyhow::Result<()> {
        let dir = self.dir.path().join("postgres");
        self.postgres(&format!("pg_ctl -D {0}/data -l {0}/log -w {what}", dir.display()))
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
}

impl Drop for Servers {
    /// Leaves nothing running.
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.dir.path().join("kafka/pid")) {
            let _ = signal("-KILL", pid.trim());
        }
        let _ = self.kill_postgres();
    }
}

async fn pause(pids: &[&str], time: Duration) -> anyhow::Result<()> {
    let each = |name| {
        for pid in pids {
            // One of them may have ended by itself.
            let _ = signal(name, pid);
        }
    };
    each("-STOP");
    tokio::time::sleep(time).await;
    each("-CONT");
    Ok(())
}

pub(crate) fn signal(signal: &str, pid: &str) -> anyhow::Result<()> {
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
pub(crate) fn free_port() -> anyhow::Result<u16> {
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
