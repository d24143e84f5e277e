//! The real Kafka and the real Postgres of a run, on loopback.

use anyhow::{Context, bail, ensure};
use gateway::services::names;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Bound for the end of a process after SIGKILL.
const EXIT_TIMEOUT: Duration = Duration::from_mins(1);

/// Kafka and Postgres, and a directory for them and all logs.
#[derive(Debug)]
pub struct Servers {
    dir: TempDir,
    /// Flags of the JVM of the broker.
    jvm: &'static str,
    kafka_port: u16,
    postgres_port: u16,
}

impl Servers {
    /// Starts both for a drill, with a database for each service. It takes minutes, in which the JVM's second compiler costs more
    /// CPU than it saves.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("-XX:TieredStopAtLevel=1")
    }

    /// Starts both for a measurement, the broker as it is in production: with both compilers of its JVM. Load it for a while
    /// before you measure.
    pub fn start_to_measure() -> anyhow::Result<Self> {
        Self::start_with("")
    }

    fn start_with(jvm: &'static str) -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        let (dir, kafka_port) = (tempfile::tempdir()?, free_port()?);
        let mut postgres_port = free_port()?;
        while postgres_port.abs_diff(kafka_port) < 2 {
            postgres_port = free_port()?;
        }
        let servers = Self { dir, jvm, kafka_port, postgres_port };
        servers.make_postgres()?;
        servers.start_kafka()?;
        Ok(servers)
    }

    /// Returns the address of the broker.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    /// Returns the URL of the database of a service.
    pub fn database(&self, service: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{service}", self.postgres_port)
    }

    /// Returns the directory of the logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Opens the log of a process to append to it.
    pub fn log(&self, name: &str) -> anyhow::Result<File> {
        let file = self.dir.path().join(format!("{name}.log"));
        Ok(File::options().create(true).append(true).open(file)?)
    }

    /// Returns all logs, those of Kafka and Postgres last.
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

    /// Starts the broker on its data, if there are any.
    pub fn start_kafka(&self) -> anyhow::Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/kafka-up");
        let up = Command::new(script)
            .arg(self.dir.path().join("kafka"))
            .arg(self.kafka_port.to_string())
            .env("KAFKA_WAIT", "300")
            .env("KAFKA_JVM", self.jvm)
            .stdout(self.log("kafka-up")?)
            .stderr(self.log("kafka-up")?)
            .status()?;
        if !up.success() {
            let log = |file: &str| {
                std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
            };
            let last = |text: String| {
                text.chars().skip(text.len().saturating_sub(1_500)).collect::<String>()
            };
            bail!(
                "Kafka did not start: {} … {}",
                last(log("kafka-up.log")),
                last(log("kafka/kafka.log"))
            );
        }
        Ok(())
    }

    /// Ends the broker by SIGKILL, and waits until its port is free.
    pub fn kill_kafka(&self) -> anyhow::Result<()> {
        let pid = std::fs::read_to_string(self.dir.path().join("kafka/pid"))?;
        signal("-KILL", pid.trim())?;
        // The port is free when the last thread of the JVM has ended.
        let until = Instant::now() + EXIT_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", self.kafka_port)).is_ok() {
            ensure!(Instant::now() < until, "Kafka still listens {EXIT_TIMEOUT:?} after SIGKILL");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Stops the broker by SIGSTOP for a while, like a machine that is overloaded or whose disk hangs.
    pub async fn pause_kafka(&self, time: Duration) -> anyhow::Result<()> {
        let pid = std::fs::read_to_string(self.dir.path().join("kafka/pid"))?;
        pause(&[pid.trim()], time).await
    }

    /// Stops all processes of Postgres by SIGSTOP for a while.
    pub async fn pause_postgres(&self, time: Duration) -> anyhow::Result<()> {
        let file = self.dir.path().join("postgres/data/postmaster.pid");
        let file = std::fs::read_to_string(file)?;
        let postmaster = file.lines().next().context("the file has a pid")?;
        // The postmaster first, because it starts processes.
        signal("-STOP", postmaster)?;
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = std::fs::read_to_string(children)?;
        let all: Vec<&str> = children.split_whitespace().chain([postmaster]).collect();
        pause(&all, time).await
    }

    fn make_postgres(&self) -> anyhow::Result<()> {
        let dir = self.dir.path().join("postgres");
        std::fs::create_dir(&dir)?;
        // initdb refuses to run as root, so the user postgres must be able to enter the directory.
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
        for service in names() {
            let server = format!("-h 127.0.0.1 -p {} -U postgres", self.postgres_port);
            self.postgres(&format!("createdb {server} {service}"))?;
        }
        Ok(())
    }

    /// Starts Postgres on its data.
    pub fn start_postgres(&self) -> anyhow::Result<()> {
        self.pg_ctl("start")
    }

    /// Stops Postgres immediately, as SIGKILL does: the next start recovers. (`fsync` is off: the kernel has
    /// what was committed, and the machine does not lose power in a drill.)
    pub fn kill_postgres(&self) -> anyhow::Result<()> {
        self.pg_ctl("-m immediate stop")
    }

    fn pg_ctl(&self, what: &str) -> anyhow::Result<()> {
        let dir = self.dir.path().join("postgres");
        self.postgres(&format!("pg_ctl -D {0}/data -l {0}/log -w {what}", dir.display()))
    }

    /// Runs a program of Postgres as a user that is not root.
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
    /// Ends both servers.
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
            // A process may have ended meanwhile.
            let _ = signal(name, pid);
        }
    };
    each("-STOP");
    tokio::time::sleep(time).await;
    each("-CONT");
    Ok(())
}

/// Sends a signal, such as `-TERM`, to a process.
///
/// # Errors
/// If there is no such process.
pub fn signal(signal: &str, pid: &str) -> anyhow::Result<()> {
    ensure!(Command::new("kill").args([signal, pid]).status()?.success(), "no process {pid}");
    Ok(())
}

fn is_root() -> anyhow::Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout.trim_ascii() == b"0")
}

/// Returns a free port whose successor is free too (for Kafka's controller).
///
/// It is below the range of ephemeral ports. Otherwise a client that reconnects while the server is down could get
/// the very port, connect to itself, and keep the server from binding it.
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
