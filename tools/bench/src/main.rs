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
mod floors;
mod growth;
mod load;
mod report;
mod seed;
mod shop;
mod tools;
mod wire;
mod workloads;

use anyhow::Context;
use clap::Parser;
use report::Report;
use shop::Shop;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tools::Nginx;
use workloads::{
    PROCESS_PAUSE, any, closed, closed_at, drains, hot, mixed, open, open_with_pause, reserve,
};

/// Measures the shop, and the floors that bound it on this machine.
#[derive(Debug, Parser)]
struct Cli {
    /// Run five processes on Kafka and Postgres, instead of one process on its embedded log and SQLite
    #[arg(long)]
    real: bool,
    /// Duration of each measurement in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// File for all figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// File for a plot of latency against offered rate
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Number of events of the backlogs that the relay and the view work off
    #[arg(long, default_value_t = 200_000)]
    events: i64,
    /// Measure the open loops of POST /carts only, at shares of what a closed loop reaches
    #[arg(long)]
    open_loops: bool,
    /// Measure open loops of POST /carts at these rates only, in requests a second, with the pipeline beside each
    #[arg(long, value_delimiter = ',', conflicts_with = "open_loops")]
    rates: Vec<f64>,
    /// Rows of the largest table that is read: 10,000,000 take some minutes and 2 GB
    #[arg(long, default_value_t = 100_000)]
    rows: i64,
    /// Serve as a floor or as one service until killed; the bench starts itself with this
    #[arg(long, hide = true)]
    stand: Option<String>,
    /// Data directory of that service
    #[arg(long, hide = true)]
    data_dir: Option<PathBuf>,
}

/// How long the closed loop runs that the rates of `--open-loops` are shares of.
const CAPACITY_TIME: Duration = Duration::from_secs(5);

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
    let time = Duration::from_secs(cli.seconds);
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
    if cli.open_loops {
        let shop = Shop::start(cli.real).await?;
        workloads::stock_up(&shop).await?;
        let carts =
            closed(&shop, "gateway", "POST /carts, one gifticon", CAPACITY_TIME, hot()).await?;
        let capacity = carts.rate;
        report.add(carts, None);
        drains(&shop).await?;
        open_loops(&shop, capacity, time, &mut report).await?;
        println!("{report}");
        return Ok(());
    }
    if !cli.rates.is_empty() {
        low_rates(cli, time, &mut report).await?;
        println!("{report}");
        return Ok(());
    }
    let pipeline = floor(time, &mut report).await?;
    let shop = Shop::start(cli.real).await?;
    serve(&shop, time, pipeline, &mut report).await?;
    drop(shop);
    backlog::run(cli.real, cli.events, &mut report).await?;
    growth::run(cli.real, cli.rows, time, &mut report).await?;
    println!("{report}");
    if let Some(file) = &cli.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(file) = &cli.svg {
        report.plot(file)?;
    }
    Ok(())
}

/// Measures open loops at the rates of `--rates`, of the empty pipeline and of the shop.
async fn low_rates(cli: &Cli, time: Duration, report: &mut Report) -> anyhow::Result<()> {
    for pipeline in [true, false] {
        let (name, shop) = if pipeline {
            ("floor: the pipeline with no database", Shop::floor("pipeline", 3)?)
        } else {
            ("POST /carts", Shop::start(cli.real).await?)
        };
        if !pipeline {
            workloads::stock_up(&shop).await?;
        }
        for &rate in &cli.rates {
            let warm_up = Duration::from_secs(1);
            open(&shop, "gateway", name, rate, warm_up, hot()).await?;
            let row = format!("{name} at {rate:.0} a second");
            report.add(open(&shop, "gateway", &row, rate, time, hot()).await?, None);
            if !pipeline {
                drains(&shop).await?;
            }
        }
    }
    Ok(())
}

/// Returns the profile of this build: the name of the folder that this program and those of the shop are in.
fn profile() -> anyhow::Result<String> {
    let program = std::env::current_exe()?;
    let folder =
        program.parent().and_then(Path::file_name).context("the program is in a folder")?;
    Ok(folder.to_string_lossy().into_owned())
}

/// Measures the floors, and returns the rate of the empty pipeline.
async fn floor(time: Duration, report: &mut Report) -> anyhow::Result<f64> {
    let floor = Shop::floor("handler", 1)?;
    let get: load::Requests = std::sync::Arc::new(|_| wire::request("GET", "/", ""));
    report.add(closed(&floor, "handler", "floor: an empty handler", time, get).await?, None);
    drop(floor);
    let floor = Shop::floor("pipeline", 3)?;
    let pipeline = closed(
        &floor,
        "gateway",
        "floor: gateway, cart and gifticon with no database",
        time,
        hot(),
    )
    .await?;
    let pipeline_rate = pipeline.rate;
    report.add(pipeline, None);
    proxies(&floor, time, report).await?;
    drop(floor);
    report.fact(
        "durable commits, one after another",
        format!("{:.0}/s", floors::commits(time / 4).await?),
    );
    Ok(pipeline_rate)
}

/// Measures siege, nginx and our gateway in front of a service that only answers.
async fn proxies(floor: &Shop, time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let handler = format!("http://{}/gifticons/1", floor.addr("gifticon"));
    match tools::siege(&handler, time)? {
        Some((rate, _)) => report.fact("floor: siege, an empty handler", format!("{rate:.0}/s")),
        None => report.fact("siege", "not installed"),
    }
    let get: load::Requests = std::sync::Arc::new(|_| wire::request("GET", "/gifticons/1", ""));
    let nginx = match Nginx::before(floor.addr("gifticon"))? {
        Some(nginx) => {
            let name = "floor: nginx, GET passed through";
            let row = closed_at(nginx.addr, floor, name, time, std::sync::Arc::clone(&get)).await?;
            let rate = row.rate;
            report.add(row, None);
            Some(rate)
        }
        None => {
            report.fact("nginx", "not installed");
            None
        }
    };
    report.add(closed(floor, "gateway", "gateway, GET passed through", time, get).await?, nginx);
    Ok(())
}

/// Measures open loops at shares of `capacity`, requests a second: each alone, and with a pause of the shop in it.
async fn open_loops(
    shop: &Shop,
    capacity: f64,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    for share in [0.25, 0.5, 0.75] {
        let rate = capacity * share;
        let row = open(
            shop,
            "gateway",
            &format!("POST /carts at {:.0} % of capacity, open loop", share * 100.0),
            rate,
            time,
            hot(),
        )
        .await?;
        report.curve.push((rate, row.p50_ms, row.p99_ms));
        report.add(row, None);
        drains(shop).await?;
        let name = format!("the same with a pause of {} ms in it", PROCESS_PAUSE.as_millis());
        report.add(open_with_pause(shop, &name, rate, time).await?, None);
        drains(shop).await?;
    }
    Ok(())
}

/// Measures the shop.
async fn serve(
    shop: &Shop,
    time: Duration,
    pipeline_rate: f64,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.fact("start to ready", format!("{:.0} ms", shop.started.as_secs_f64() * 1_000.0));
    for (name, mib) in shop.memory() {
        report.fact(&format!("memory of {name}, idle"), format!("{mib:.0} MiB"));
    }
    workloads::stock_up(shop).await?;
    report.add(workloads::visible(shop, 100).await?, None);
    let carts = closed(shop, "gateway", "POST /carts, one gifticon", time, hot()).await?;
    let capacity = carts.rate;
    report.add(carts, Some(pipeline_rate));
    report
        .fact("payments and views of them all done after", format!("{:.1?}", drains(shop).await?));
    match tools::wrk(shop, time)? {
        Some(row) => report.add(row, Some(pipeline_rate)),
        None => report.fact("wrk", "not installed"),
    }
    let carts_url = format!("http://{}/carts", shop.addr("gateway"));
    if let Some((rate, good)) = tools::siege(&carts_url, time)? {
        let figures = format!("{rate:.0}/s, availability {good:.2} %");
        report.fact("POST /carts, by siege -c100", figures);
    }
    drains(shop).await?;
    report.add(
        closed(shop, "gateway", "POST /carts, 1,000 gifticons", time, any()).await?,
        Some(pipeline_rate),
    );
    report
        .fact("payments and views of them all done after", format!("{:.1?}", drains(shop).await?));
    open_loops(shop, capacity, time, report).await?;
    report.add(
        closed(
            shop,
            "gateway",
            "mixed shop: 80 % reads, 15 % carts, 5 % cancels",
            time,
            mixed(1_000),
        )
        .await?,
        None,
    );
    drains(shop).await?;
    report.add(
        closed(
            shop,
            "gifticon",
            "reservations straight at gifticon, one gifticon",
            time,
            reserve(),
        )
        .await?,
        None,
    );
    for (name, mib) in shop.memory() {
        report.fact(&format!("memory of {name}, after all that"), format!("{mib:.0} MiB"));
    }
    Ok(())
}
