//! A process that the bench starts, with its CPU time and memory.

use anyhow::{Context, bail};
use chaos::servers::signal;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to end: its drain, and the spans that it sends after that.
const END_MAX: Duration = Duration::from_secs(25);

/// Settings of the allocator, as the images have them: docs/decisions/0023-mimalloc.md.
const ALLOCATOR: [(&str, &str); 2] =
    [("MIMALLOC_GENERIC_COLLECT", "100"), ("MIMALLOC_PURGE_DELAY", "100")];

/// A process, with the addresses that it printed.
pub(crate) struct Process {
    child: Child,
    pub(crate) listens: BTreeMap<String, SocketAddr>,
}

impl Process {
    /// Starts a program from the folder of this one, and waits until it has printed `lines` addresses.
    pub(crate) fn start(
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
            .envs(ALLOCATOR)
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
    pub(crate) fn cpu(&self) -> f64 {
        chaos::cpu_time(self.child.id()).as_secs_f64()
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its resident memory in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    }
}

impl Drop for Process {
    /// Ends it as an operator does, also while it is stopped. A shop drains then, and writes its counts where it was built to count
    /// what it does.
    fn drop(&mut self) {
        let pid = self.id().to_string();
        let _ = signal("-TERM", &pid).and_then(|()| signal("-CONT", &pid));
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > END_MAX {
                eprintln!("a process does not end, and is killed");
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the name of this program.
pub(crate) fn itself() -> anyhow::Result<String> {
    let program = std::env::current_exe()?;
    Ok(program.file_name().and_then(|name| name.to_str()).context("it has a name")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::ALLOCATOR;

    #[test]
    fn the_allocator_is_set_as_in_the_images() {
        let dockerfile = include_str!("../../../Dockerfile");
        let line = ALLOCATOR.map(|(name, value)| format!("{name}={value}")).join(" ");
        assert!(dockerfile.contains(&format!("\nENV {line}\n")));
    }
}
