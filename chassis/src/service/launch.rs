//! The life of a process, from `main` to the exit code.

use crate::base::config::{InvalidSetting, Kafka, LogFormat, Process};
use crate::base::{export, logging};
use crate::bus::{Bus, KafkaBus};
use crate::http::client;
use crate::service::{Running, setting_files};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// The exit code of a process with an invalid setting.
const EXIT_INVALID_SETTING: u8 = 2;

/// How long after a signal to stop another one counts as the same.
const REPEATED_SIGNAL_WINDOW: Duration = Duration::from_secs(1);

/// The flags of a process: its own, and those of every process.
#[derive(Debug, Parser)]
struct Cli<C: Args> {
    #[command(flatten)]
    own: C,
    #[command(flatten)]
    process: Process,
}

/// The flags of one of the four services: its own, and those of the broker.
#[derive(Clone, Debug, Args)]
pub struct OnKafka<C: Args> {
    #[command(flatten)]
    own: C,
    #[command(flatten)]
    kafka: Kafka,
}

/// What a process runs.
pub struct Started {
    /// The running services, in the order in which they stop.
    running: Vec<Running>,
    welcome: Option<Box<dyn Welcome>>,
}

/// What a process says of itself once it has started.
pub trait Welcome {
    /// Returns lines for people, which they see at a terminal.
    fn lines(&self) -> String;
    /// Writes the same as one line of the log, which others see.
    fn log(&self);
}

impl Started {
    /// Returns running services, in the order in which they stop, that say `welcome` of themselves.
    pub fn with_welcome(running: Vec<Running>, welcome: impl Welcome + 'static) -> Self {
        Self { running, welcome: Some(Box::new(welcome)) }
    }

    /// Says where the services listen: in the lines of its welcome to people at a terminal, and otherwise in a line for each
    /// address on standard output, which programs read.
    fn announce(&self, format: LogFormat) {
        let mut stdout = std::io::stdout().lock();
        let for_people = stdout.is_terminal() && format == LogFormat::Text;
        let addresses = || {
            let listens = |one: &Running| format!("{} listens on {}\n", one.name(), one.url());
            let manages = |one: &Running| {
                let url = one.management_url()?;
                Some(format!("management of {} listens on {url}\n", one.name()))
            };
            let services = self.running.iter().map(listens);
            services.chain(self.running.iter().filter_map(manages)).collect::<String>()
        };
        let text = match &self.welcome {
            Some(welcome) if for_people => welcome.lines(),
            Some(welcome) => {
                welcome.log();
                addresses()
            }
            None => addresses(),
        };
        // The parent process may have stopped reading, which is no reason to panic.
        let _ = stdout.write_all(text.as_bytes());
        let _ = stdout.flush();
    }
}

impl From<Vec<Running>> for Started {
    fn from(running: Vec<Running>) -> Self {
        Self { running, welcome: None }
    }
}

/// The default port of the management address minus that of the service.
const MANAGEMENT_PORT_OFFSET: u16 = 1_000;

/// Returns the command of a process, with `about` for `--help` and the default port `port`.
pub fn command<C: Args>(name: &'static str, about: &'static str, port: u16) -> clap::Command {
    let command = Cli::<C>::command().name(name).version(env!("CARGO_PKG_VERSION")).about(about);
    let command = command.after_help(setting_files::HELP);
    if !command.get_arguments().any(|arg| arg.get_id() == "listen_addr") {
        return command;
    }
    let default_addr =
        |port: u16| move |arg: clap::Arg| arg.default_value(format!("127.0.0.1:{port}"));
    command
        .mut_arg("listen_addr", default_addr(port))
        .mut_arg("management_addr", default_addr(port + MANAGEMENT_PORT_OFFSET))
}

/// Runs one of the four services on Kafka. Returns its exit code.
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

/// Runs a process: reads its flags, starts the logs and the services, waits for a signal, and drains. Returns its exit code.
///
/// `start` returns what runs. `after` cleans up once all have stopped.
pub async fn process<C: Args, S: Into<Started>>(
    name: &'static str,
    about: &'static str,
    port: u16,
    start: impl AsyncFnOnce(C) -> anyhow::Result<S>,
    after: impl AsyncFnOnce(),
) -> ExitCode {
    let command = command::<C>(name, about, port);
    let given: Vec<_> = std::env::args_os().collect();
    let arguments =
        setting_files::arguments(command.clone(), &given, |name| std::env::var_os(name));
    let (command, all, unread) = match arguments {
        Ok(setting_files::Arguments { command, all }) => (command, all, None),
        Err(error) => (command, given, Some(error)),
    };
    let parsed = command.clone().try_get_matches_from(all).and_then(|found| {
        let readiness = readiness_url(&found);
        Ok((Cli::<C>::from_arg_matches(&found)?, readiness))
    });
    let for_people = |kind| matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if let Some(error) = unread
        && !parsed.as_ref().is_err_and(|error| for_people(error.kind()))
    {
        eprintln!("{name}: {error}");
        return ExitCode::from(EXIT_INVALID_SETTING);
    }
    let (cli, readiness) = match parsed {
        Ok(parsed) => parsed,
        Err(error) if for_people(error.kind()) => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{name}: {}", one_line(&command, &error));
            return ExitCode::from(EXIT_INVALID_SETTING);
        }
    };
    if cli.process.healthy {
        let ready = match readiness {
            Some(url) => client::is_ready(&url).await,
            None => false,
        };
        return if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let _logs = match logging::start(cli.process.log_format) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::from(EXIT_INVALID_SETTING);
        }
    };
    if let Err(error) = export::begin(name, cli.process.otel) {
        eprintln!("{name}: {error}");
        return ExitCode::from(EXIT_INVALID_SETTING);
    }
    // Most systems allow 1,024 open files unless asked for more.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "could not raise the limit of open files");
    }
    let started: Started = match start(cli.own).await {
        Ok(started) => started.into(),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            return if error.is::<InvalidSetting>() {
                ExitCode::from(EXIT_INVALID_SETTING)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    let stop = stop_signal(); // before anybody knows that it runs, and may stop it
    started.announce(cli.process.log_format);
    let running = started.running;

    let failures = running.iter().map(|service| Box::pin(service.failed()));
    let failed = futures_util::future::select_all(failures);
    let code = tokio::select! {
        signal = stop => {
            info!(signal, "stopping");
            ExitCode::SUCCESS
        }
        _ = failed => {
            error!("stopping because a task failed");
            ExitCode::FAILURE
        }
    };
    let until = tokio::time::Instant::now() + cli.process.shutdown_grace;
    let drained = async {
        for service in running {
            service.stop(until.saturating_duration_since(tokio::time::Instant::now())).await;
        }
        after().await;
        export::flush().await;
    };
    tokio::select! {
        () = drained => code,
        signal = second_stop_signal() => {
            error!(signal, "second signal to stop; stopping at once");
            ExitCode::FAILURE
        }
    }
}

/// Returns where the process says whether it is ready: at its address, that of the gateway in `standalone`, or at its management
/// address if the other one speaks HTTPS.
fn readiness_url(found: &ArgMatches) -> Option<String> {
    let addr = |id| found.try_get_one::<SocketAddr>(id).ok().flatten().copied();
    let (own, of_gateway) = (addr("listen_addr"), addr("gateway_addr"));
    let is_https = matches!(found.try_get_one::<PathBuf>("tls_certificate"), Ok(Some(_)));
    let (addr, prefix) = match (is_https, own) {
        (false, _) => (own.or(of_gateway)?, ""),
        (true, Some(_)) => (addr("management_addr")?, ""),
        (true, None) => (addr("management_addr")?, "/gateway"),
    };
    Some(format!("http://{addr}{prefix}/actuator/health/readiness"))
}

/// Listens for SIGTERM and SIGINT from now on. The future waits for the first, and returns its name.
fn stop_signal() -> impl Future<Output = &'static str> {
    let listen = |kind| signal(kind).expect("signals can be listened to");
    let (mut term, mut int) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    }
}

/// Waits for a second signal. One that arrives at once is a repetition: a shell signals a whole process group, and supervisors
/// repeat.
async fn second_stop_signal() -> &'static str {
    tokio::time::sleep(REPEATED_SIGNAL_WINDOW).await;
    stop_signal().await
}

/// Returns an error of clap in one line, with the setting and an example of a valid value.
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
                ErrorKind::ValueValidation | ErrorKind::InvalidValue
                    if setting.is_hide_env_values_set() =>
                {
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

/// Returns `text` without user and password, the part between `://` and `@` of a URL. An unescaped password may contain `@`, so
/// all up to the last one is removed.
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
