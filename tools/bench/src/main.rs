//! The bench: `target/release/bench`, after `cargo build --release --workspace`.
//!
//! Each run also measures floors, which bound what the shop can reach on this machine: an empty handler, the hops of a
//! cart without databases, and durable commits one after another. The client shares the cores with the shop, and
//! machines differ, so compare ratios.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures have three digits and are far below 2^52"
)]

#[global_allocator] // as that of the services: the floors run in this process
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod backlog;
mod cli;
mod fill;
mod floors;
mod flush;
mod full;
mod growth;
mod hold;
mod load;
mod measure;
mod neighbour;
mod nginx;
mod process;
mod rates;
mod replicas;
mod report;
mod reservations;
mod rival;
mod seed;
mod shop;
mod storage;
mod streams;
mod tokens;
mod tools;
mod whole;
mod wire;
mod workloads;
mod zipf;

use anyhow::Context;
use clap::Parser;
use cli::Cli;
use report::Report;
use rival::Contest;
use std::path::Path;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Each of some thousand customers is a connection.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        eprintln!("the limit of open files cannot be raised: {error}");
    }
    let done = match (&cli.stand, &cli.data_dir) {
        (Some(name), Some(dir)) => backlog::serve_service(name, dir).await,
        (Some(name), None) => floors::serve_floor(name).await,
        (None, _) => run(&cli).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<()> {
    let mut report = Report {
        system: if cli.real {
            "five processes on Kafka and Postgres"
        } else {
            "standalone: embedded log, SQLite"
        }
        .into(),
        profile: profile()?,
        ..Report::default()
    };
    measure(cli, &mut report).await?;
    println!("{report}");
    if let Some(file) = &cli.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(file) = &cli.svg {
        report.plot(file)?;
    }
    Ok(())
}

/// Measures what the command line asks for.
async fn measure(cli: &Cli, report: &mut Report) -> anyhow::Result<()> {
    let time = cli.time();
    if let Some(rival) = cli.against {
        let contest = Contest {
            rival,
            real: cli.real,
            gifticons: cli.gifticons,
            repeat: cli.repeat,
            time,
            held: cli.held,
            neighbour: cli.neighbour,
        };
        return contest.run(report).await;
    }
    if cli.held {
        return rates::highest_held(cli.real, cli.neighbour, time, report).await;
    }
    if cli.open_loops {
        return rates::open_loops_only(cli.real, time, report).await;
    }
    if !cli.rates.is_empty() {
        return rates::given(cli.real, &cli.rates, time, report).await;
    }
    if let Some(count) = cli.streams {
        return streams::run(cli.real, count, cli.watch, time, report).await;
    }
    if let Some(count) = cli.replicas {
        return replicas::run(count, cli.repeat, time, report).await;
    }
    if cli.tokens {
        return tokens::run(cli.real, cli.owners, cli.repeat, time, report).await;
    }
    whole::run(cli, report).await
}

/// Returns the profile of this build: the name of the folder that this program and those of the shop are in.
fn profile() -> anyhow::Result<String> {
    let program = std::env::current_exe()?;
    let folder =
        program.parent().and_then(Path::file_name).context("the program is in a folder")?;
    Ok(folder.to_string_lossy().into_owned())
}
