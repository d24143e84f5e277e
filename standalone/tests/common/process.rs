//! `standalone`, or one service, as a process that can be killed.

use super::ShopClient;
use chassis::testing::eventually;
use gateway::services::processes;
use reqwest::Method;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_standalone");
/// Any free port.
const FREE: &str = "127.0.0.1:0";

/// A running program. Dropping it kills it.
pub struct Process {
    child: Child,
    pub web: ShopClient,
}

impl Process {
    /// Returns the command that starts it on a data directory and free ports, without a log.
    pub fn command(dir: &Path) -> Command {
        Self::command_at(dir, FREE)
    }

    /// Does the same as [`Self::command`], with the gateway at `addr`.
    fn command_at(dir: &Path, addr: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--data-dir").arg(dir).env("RUST_LOG", "off");
        for name in processes().into_iter().chain(["management"]) {
            let addr = if name == "gateway" { addr } else { FREE };
            command.arg(format!("--{name}-addr={addr}"));
        }
        command
    }

    /// Starts it on a data directory, on free ports, and waits until it serves.
    pub fn start(dir: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_with(Self::command(dir), environment, Stdio::inherit())
    }

    /// Does the same as [`Self::start`], with the gateway at `addr`.
    pub fn start_at(dir: &Path, addr: &str) -> Self {
        Self::start_with(Self::command_at(dir, addr), &[], Stdio::inherit())
    }

    /// Does the same as [`Self::start`]. Returns the file with its log too: warnings, where `environment` has no `RUST_LOG`.
    pub fn start_logged(dir: &Path, environment: &[(&str, &str)]) -> (Self, PathBuf) {
        let log = dir.join("stderr");
        let stderr = File::create(&log).unwrap().into();
        let environment = [&[("RUST_LOG", "warn")], environment].concat();
        (Self::start_with(Self::command(dir), &environment, stderr), log)
    }

    /// Starts the program of one service, or of the gateway, on free ports, and waits until it listens. It is beside that of
    /// `standalone` where the whole workspace was built.
    pub fn start_service(name: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(Path::new(PROGRAM).with_file_name(name));
        command.env("LISTEN_ADDR", FREE).env("MANAGEMENT_ADDR", FREE);
        Self::start_program(name, command, environment, Stdio::inherit())
    }

    fn start_with(command: Command, environment: &[(&str, &str)], stderr: Stdio) -> Self {
        Self::start_program("gateway", command, environment, stderr)
    }

    /// Starts a program, in which `name` serves HTTP.
    fn start_program(
        name: &str,
        mut command: Command,
        environment: &[(&str, &str)],
        stderr: Stdio,
    ) -> Self {
        command.env("RUST_LOG", "error").env("GIFTICON_TIMEOUT_MS", "5000");
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(stderr);
        let program = command.get_program().to_owned();
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{} cannot be started: {error}; build the workspace", program.display())
        });
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let prefix = format!("{name} listens on ");
        let base = lines
            .map_while(Result::ok)
            .find_map(|line| Some(line.strip_prefix(&prefix)?.to_owned()));
        Self { child, web: ShopClient::new(base.expect("it listens")) }
    }

    /// Waits until the view of a cart has `status`.
    pub async fn shows(&self, cart: i64, status: &str) {
        eventually(&format!("cart {cart} to be {status}"), async || {
            let path = format!("/mypages/search/findByCartId?cartId={cart}");
            let (_, view) = self.web.ask(Method::GET, &path, None).await.ok()?;
            (view["status"] == status).then_some(())
        })
        .await;
    }

    /// Stops it by SIGSTOP for `time`, and calls `meanwhile` when it is stopped.
    pub async fn pause<T>(&self, time: Duration, meanwhile: impl FnOnce() -> T) -> T {
        self.signal("-STOP");
        let done = meanwhile();
        tokio::time::sleep(time).await;
        self.signal("-CONT");
        done
    }

    /// Ends it by SIGKILL.
    pub fn kill(self) {
        drop(self);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits until it has ended, and returns its status.
    pub async fn ended(mut self, timeout: Duration) -> ExitStatus {
        let status = ended(&mut self.child, timeout).await;
        status.unwrap_or_else(|| panic!("it still runs after {timeout:?}"))
    }

    /// Sends SIGTERM, and waits until it has ended.
    pub async fn terminate(self) -> ExitStatus {
        self.signal("-TERM");
        self.ended(Duration::from_secs(25)).await
    }
}

impl Drop for Process {
    /// Kills it, so that a test that fails leaves no process.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a program has ended, for `timeout` at most, and returns its status.
pub async fn ended(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + timeout;
    loop {
        match child.try_wait().unwrap() {
            None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
            status => return status,
        }
    }
}
