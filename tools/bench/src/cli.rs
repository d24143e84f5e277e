//! The command line.

use crate::rival;
use crate::streams::Watch;
use clap::{ArgGroup, Parser, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Time of a measurement, unless `--seconds` names another.
const MEASUREMENT_SECONDS: u64 = 10;
/// Time that a rate must be held for, unless `--seconds` names another.
const HELD_SECONDS: u64 = 60;

/// A part of the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The floors, and the shop beside them
    Shop,
    /// Reservations straight at gifticon, one by one and many in one call
    Reservations,
    /// A full outbox and a full topic that are worked off
    Backlog,
    /// Reads from tables of growing size
    Reads,
    /// Many gifticons, of which few are popular
    Zipf,
    /// Writes on full tables beside the same on empty ones
    Writes,
}

/// Measures the shop, and the floors that bound it on this machine.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(group = ArgGroup::new("what").args(["open_loops", "rates", "replicas", "streams", "tokens", "only"]))]
pub(crate) struct Cli {
    /// Run five processes on Kafka and Postgres, instead of one process on its embedded log and SQLite
    #[arg(long)]
    pub(crate) real: bool,
    /// Duration of each measurement in seconds: 10, or 60 with --held
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
    /// Measure each closed loop this often, in turns with its floor, and report medians
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub(crate) repeat: usize,
    /// File for all figures as JSON
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// File for a plot of latency against offered rate
    #[arg(long)]
    pub(crate) svg: Option<PathBuf>,
    /// Number of events of the backlogs that the relay and the view work off
    #[arg(long, default_value_t = 200_000)]
    pub(crate) events: i64,
    /// Rows of the largest tables: 10,000,000 take some minutes, and 2 GB for reads and 8 GB for writes
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) rows: i64,
    /// Gifticons of the zipf workload
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    pub(crate) gifticons: i64,
    /// Measure these parts of the whole run only
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// Measure the open loops of POST /carts only, at shares of what a closed loop reaches
    #[arg(long)]
    pub(crate) open_loops: bool,
    /// Measure open loops of POST /carts at these rates only, in requests a second, with the pipeline beside each
    #[arg(long, value_delimiter = ',', value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    /// Search the highest rate of POST /carts that is held for the time of a measurement: nobody refused, p99 within 50 ms
    #[arg(long, conflicts_with = "what")]
    pub(crate) held: bool,
    /// Search it beside a neighbour too, who takes half of a core
    #[arg(long, requires = "held")]
    pub(crate) neighbour: bool,
    /// Measure so many replicas of each service beside one
    #[arg(long, requires = "real", value_parser = replicas)]
    pub(crate) replicas: Option<usize>,
    /// Measure POST /carts at 500 a second beside so many open event streams, and how soon they see what changes
    #[arg(long, value_parser = count)]
    pub(crate) streams: Option<usize>,
    /// What the streams wait for
    #[arg(long, value_enum, default_value_t, requires = "streams")]
    pub(crate) watch: Watch,
    /// Measure POST /carts with tokens of an issuer, signed by RS256 and by ES256, beside the same without
    #[arg(long)]
    pub(crate) tokens: bool,
    /// Owners of these tokens: so many that none comes near the bound of writes, or few with RATE_LIMIT_WRITES=0
    #[arg(long, default_value_t = 2_000, requires = "tokens", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) owners: u64,
    /// Measure another implementation beside ours, whose gateway listens at this URL; 127.0.0.0/8 only. With --held, search
    /// its highest rate too
    #[arg(long, value_name = "URL", value_parser = rival::address, conflicts_with = "what")]
    pub(crate) against: Option<SocketAddr>,
    /// Serve as a floor or as one service until killed; the bench starts itself with this
    #[arg(long, hide = true)]
    pub(crate) stand: Option<String>,
    /// Data directory of that service
    #[arg(long, hide = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

impl Cli {
    /// Returns the time of a measurement.
    pub(crate) fn time(&self) -> Duration {
        let usual = if self.held { HELD_SECONDS } else { MEASUREMENT_SECONDS };
        Duration::from_secs(self.seconds.unwrap_or(usual))
    }

    /// Returns whether a part of the whole run is wanted.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Parses a number from 1 on.
fn count(text: &str) -> Result<usize, String> {
    at_least(1, text)
}

/// Parses a number of replicas that differs from one.
fn replicas(text: &str) -> Result<usize, String> {
    at_least(2, text)
}

fn at_least(least: usize, text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number >= least);
    number.ok_or_else(|| format!("{text} is not a number from {least} on"))
}

/// Parses a rate in requests a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("{text} is not a rate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["bench"].into_iter().chain(arguments.split_whitespace()))
    }

    #[test]
    fn a_measurement_takes_10_seconds_and_a_held_rate_60() {
        let seconds = |arguments| parsed(arguments).unwrap().time().as_secs();
        assert_eq!(seconds(""), 10);
        assert_eq!(seconds("--held"), 60);
        assert_eq!(seconds("--held --seconds 3"), 3);
    }

    #[test]
    fn parts_and_rates_are_lists() {
        let cli = parsed("--only zipf,writes").unwrap();
        assert!(cli.wants(Part::Zipf) && cli.wants(Part::Writes) && !cli.wants(Part::Shop));
        assert!(parsed("").unwrap().wants(Part::Shop));
        assert_eq!(parsed("--rates 250,1000.5").unwrap().rates, [250.0, 1000.5]);
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for valid in [
            "--held --neighbour",
            "--streams 10 --watch all",
            "--real --replicas 2 --repeat 5",
            "--real --tokens --repeat 5 --seconds 3",
            "--against http://127.0.0.1:9000 --held --neighbour",
        ] {
            assert!(parsed(valid).is_ok(), "{valid}");
        }
        for invalid in [
            "--neighbour",
            "--replicas 2",
            "--watch live",
            "--streams 10 --rates 250",
            "--real --replicas 1",
            "--rates 0",
            "--rates 250,-1",
            "--rates inf",
            "--repeat 0",
            "--seconds 0",
            "--rows 0",
            "--held --open-loops",
            "--held --tokens",
            "--tokens --streams 10",
            "--tokens --owners 0",
            "--rates 250 --open-loops",
            "--against http://127.0.0.1:9000 --rates 250",
            "--against http://10.0.0.1:9000",
        ] {
            assert!(parsed(invalid).is_err(), "{invalid}");
        }
    }
}
