//! From `main` to the exit code.

use crate::base::config::{InvalidSetting, Kafka, Process};
use crate::base::logging;
use crate::bus::{Bus, KafkaBus};
use crate::http::client;
use crate::service::Running;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// The status of a process whose settings cannot be used.
const UNUSABLE: u8 = 2;

/// How long after a signal to stop another one is taken for the same.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// The flags of a process: its own and those that all have.
#[derive(Debug, Parser)]
struct Cli<C: Args> {
    #[command(flatten)]
    own: C,
    #[command(flatten)]
    process: Process,
}

/// The flags of one of the four services: its own and the broker.
#[derive(Clone, Debug, Args)]
pub struct OnKafka<C: Args> {
    #[command(flatten)]
    own: C,
    #[command(flatten)]
    kafka: Kafka,
}

/// How far the usual port of the management address is above that of the service.
const MANAGEMENT_PORT_OFFSET: u16 = 1_000;

/// The command of a process, with `about` for `--help` and `port` as its usual one.
pub fn command<C: Args>(name: &'static str, about: &'static str, port: u16) -> clap::Command {
    let command = Cli::<C>::command().name(name).version(env!("CARGO_PKG_VERSION")).about(about);
    if !command.get_arguments().any(|arg| arg.get_id() == "listen_addr") {
        return command;
    }
    let usual = |port: u16| move |arg: clap::Arg| arg.default_value(format!("127.0.0.1:{port}"));
    command
        .mut_arg("listen_addr", usual(port))
        .mut_arg("management_addr", usual(port + MANAGEMENT_PORT_OFFSET))
}

/// Runs one of the four services, on Kafka.
pub async fn service<C: Args>(
    name: &'static str,
    about: &'static str,
    port: u16,
    start: impl AsyncFnOnce(C, Arc<dyn Bus>) -> anyhow::Result<Running>,
) -> ExitCode {
    let start = async |config: OnKafka<C>| {
        let Kafka { kafka_brokers, topic, security } = &config.kafka;
        let bus = KafkaBus::secured(kafka_brokers, &topic.kafka_topic, security)?;
        Ok(vec![start(config.own, Arc::new(bus)).await?])
    };
    process(name, about, port, start, async || {}).await
}

/// Runs a process: flags, logs, start, a signal, drain, exit code.
///
/// `start` answers what runs, in the order in which it stops; `after` cleans up when all has.
pub async fn process<C: Args>(
    name: &'static str,
    about: &'static str,
    port: u16,
    start: impl AsyncFnOnce(C) -> anyhow::Result<Vec<Running>>,
    after: impl AsyncFnOnce(),
) -> ExitCode {
    let command = command::<C>(name, about, port);
    let parsed = command
        .clone()
        .try_get_matches()
        .and_then(|found| Ok((Cli::<C>::from_arg_matches(&found)?, door(&found))));
    let (cli, door) = match parsed {
        Ok(parsed) => parsed,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{name}: {}", one_line(&command, &error));
            return ExitCode::from(UNUSABLE);
        }
    };
    if cli.process.healthy {
        let ready = match door {
            Some(addr) => client::is_ready(addr).await,
            None => false,
        };
        return if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let _logs = match logging::start(cli.process.log_format) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::from(UNUSABLE);
        }
    };
    // Most systems allow 1,024 open files unless asked for more.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "cannot have more files open");
    }
    let running = match start(cli.own).await {
        Ok(running) => running,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            return if error.is::<InvalidSetting>() {
                ExitCode::from(UNUSABLE)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    // Whoever started this may have stopped reading: no reason to panic.
    let mut stdout = std::io::stdout().lock();
    for one in &running {
        let _ = writeln!(stdout, "{} listens on {}", one.name(), one.url());
    }
    for one in &running {
        if let Some(url) = one.management_url() {
            let _ = writeln!(stdout, "management of {} listens on {url}", one.name());
        }
    }
    let _ = stdout.flush();
    drop(stdout);

    let failed = futures_util::future::select_all(running.iter().map(|one| Box::pin(one.failed())));
    let code = tokio::select! {
        signal = told_to_stop() => {
            info!(signal, "stopping");
            ExitCode::SUCCESS
        }
        _ = failed => {
            error!("stopping, since a part of it failed");
            ExitCode::FAILURE
        }
    };
    let until = tokio::time::Instant::now() + cli.process.shutdown_grace;
    let drained = async {
        for one in running {
            one.stop(until.saturating_duration_since(tokio::time::Instant::now())).await;
        }
        after().await;
    };
    tokio::select! {
        () = drained => code,
        signal = told_again() => {
            error!(signal, "told to stop a second time; stopping at once");
            ExitCode::FAILURE
        }
    }
}

/// Where the process listens, or the gateway where it is all of them.
fn door(found: &ArgMatches) -> Option<SocketAddr> {
    let addr = |id| found.try_get_one::<SocketAddr>(id).ok().flatten().copied();
    addr("listen_addr").or_else(|| addr("gateway_addr"))
}

/// Waits for SIGTERM or SIGINT.
async fn told_to_stop() -> &'static str {
    let listen = |kind| signal(kind).expect("signals can be listened to");
    let (mut term, mut int) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

/// Waits for another signal. One that comes at once is the same wish: a shell signals a whole group, and supervisors repeat.
async fn told_again() -> &'static str {
    tokio::time::sleep(SAME_SIGNAL).await;
    told_to_stop().await
}

/// clap's complaint in one line that names the setting and what it should look like.
fn one_line(command: &clap::Command, error: &clap::Error) -> String {
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => vec![name.as_str()],
        Some(ContextValue::Strings(names)) => names.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let flags: Vec<&str> = named.iter().filter_map(|name| name.split([' ', '=']).next()).collect();
    let mut settings = command.get_arguments().filter(|arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        long.is_some_and(|long| flags.contains(&long.as_str()))
    });
    let first_lines: Vec<String> = error
        .to_string()
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .map(String::from)
        .collect();
    let what = first_lines.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what).to_owned();
    match settings.next() {
        Some(setting) => {
            let variable = setting.get_env().unwrap_or_default().to_string_lossy().into_owned();
            let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
            let what = match error.kind() {
                ErrorKind::ValueValidation if setting.is_hide_env_values_set() => {
                    let why = std::error::Error::source(error).map(ToString::to_string);
                    why.unwrap_or_else(|| "it has a value that cannot be used".into())
                }
                _ => without_user_info(&what),
            };
            format!("{variable}: {what} ({help})")
        }
        None => format!("{} (--help lists the settings)", without_user_info(&what)),
    }
}

/// `text` without what stands between `://` and `@` in a URL: a user and a password. Which of several `@` ends a password
/// that is not escaped cannot be told, so all up to the last goes.
fn without_user_info(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://…{}", &text[..scheme], &text[at..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(without_user_info("no 'http://u:p @a/b@c/x' is"), "no 'http://…@c/x' is");
        assert_eq!(without_user_info("a@b, no 'http://c/x'"), "a@b, no 'http://c/x'");
    }
}
