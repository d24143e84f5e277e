//! The released binary as a process that can be killed.

use super::Web;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// `standalone`, running.
pub struct Process {
    child: Child,
    pub web: Web,
}

impl Process {
    /// Starts it on a data directory, on free ports, and waits until it serves.
    pub fn start(dir: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_with(dir, environment, Stdio::inherit())
    }

    /// The same, with its log in `stderr`.
    pub fn start_with(dir: &Path, environment: &[(&str, &str)], stderr: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
        command.arg("--data-dir").arg(dir);
        for name in ["gifticon", "cart", "payment", "mypage", "gateway", "management"] {
            command.arg(format!("--{name}-addr=127.0.0.1:0"));
        }
        command.env("RUST_LOG", "error").env("GIFTICON_TIMEOUT_MS", "5000");
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = "gateway listens on ";
        let base =
            lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix(said)?.to_owned()));
        Self { child, web: Web::new(base.expect("the gateway listens")) }
    }

    /// SIGSTOP for a while, as a machine does that has no time for it. `meanwhile` is done when it stands still.
    pub async fn pause<T>(&self, time: Duration, meanwhile: impl FnOnce() -> T) -> T {
        self.signal("-STOP");
        let done = meanwhile();
        tokio::time::sleep(time).await;
        self.signal("-CONT");
        done
    }

    /// kill -9.
    pub fn kill(self) {
        drop(self);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits until it ends by itself.
    pub async fn ended(mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it still runs after {patience:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM, and waits until it ends.
    pub async fn terminate(self) -> ExitStatus {
        self.signal("-TERM");
        self.ended(Duration::from_secs(25)).await
    }
}

impl Drop for Process {
    /// A test that fails leaves nothing running.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
