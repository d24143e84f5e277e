//! The fault run, `cargo run --release -p chaos -- --cycles 50 --seed 7`, and drills of one kind of
//! trouble each: `chaos story`, `chaos rolling`, `chaos cut`, `chaos kafka-away`, `chaos postgres-away`, `chaos overload`.

mod drills;

use anyhow::ensure;
use chaos::cluster::Cluster;
use chaos::shop::Shop;
use clap::{Parser, ValueEnum};
use drills::{cut, faults, outage, overload, rolling, row, story, table};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Has something go wrong on real Kafka and Postgres with two replicas of everything while customers
/// shop, and audits what the shop promised. Build the workspace in the same profile first.
#[derive(Debug, Parser)]
struct Cli {
    /// What goes wrong
    #[arg(value_enum, default_value_t = Drill::Faults)]
    drill: Drill,
    /// faults: how many, one a cycle
    #[arg(long, default_value_t = 50)]
    cycles: u64,
    /// faults: what the dice begin with; the same seed gives the same faults
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// faults: only this kind, as the table names it: "kill -9 of Kafka"
    #[arg(long)]
    only: Option<String>,
    /// Seconds that the shop may take to settle after a fault or at the end; a slow machine needs more
    #[arg(long, default_value_t = 10)]
    settles: u64,
    /// cut: calls to cut
    #[arg(long, default_value_t = 10_000)]
    calls: u64,
    /// rolling: how often each replica is restarted
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    /// kafka-away, postgres-away: for how many seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Replicas of each service
    #[arg(long, default_value_t = 2)]
    replicas: usize,
    /// Customers at once
    #[arg(long, default_value_t = 12)]
    customers: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drill {
    /// Nothing: the original's story is told
    Story,
    /// Any fault, one a cycle
    Faults,
    /// SIGTERM to one replica after another: no request may fail
    Rolling,
    /// Reservation calls cut at every stage: no unit may leak
    Cut,
    /// No Kafka: carts go on, and all follows in order
    KafkaAway,
    /// No Postgres: a clear 503, and back by itself
    PostgresAway,
    /// Three times what the shop can do: it goes on, and refuses the rest at once
    Overload,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut terminated = signal(SignalKind::terminate()).expect("signals can be listened to");
    let cli = Cli::parse();
    let began = Instant::now();
    let outcome = tokio::select! {
        outcome = run(&cli) => outcome,
        // Ends what was started.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow::anyhow!("terminated")),
    };
    match outcome {
        Ok(table) => {
            println!("{table}\n| time | {} s |", began.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("seed {}: {error:#}", cli.seed);
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<String> {
    // Where a replica that is killed or stopped is not the subject, calls may take as long as they do
    // on a busy machine.
    let budget = Duration::from_secs(if cli.drill == Drill::Rolling { 5 } else { 1 });
    let cluster = Cluster::start(cli.replicas, cli.seed, budget)?;
    let mut shop = Shop::open(cluster, Duration::from_secs(cli.settles)).await?;
    if cli.drill != Drill::Story {
        shop.stock_up(40 * cli.cycles.cast_signed()).await?;
    }
    let time = Duration::from_secs(cli.seconds);
    let mut rows = match cli.drill {
        Drill::Faults => faults::run(&mut shop, cli).await?,
        Drill::Story => story::run(&mut shop).await?,
        Drill::Rolling => rolling::run(&mut shop, cli.rounds, cli.replicas, cli.customers).await?,
        Drill::Cut => cut::run(&mut shop, cli.calls, cli.customers).await?,
        Drill::KafkaAway => outage::of_kafka(&mut shop, time, cli.customers).await?,
        Drill::PostgresAway => outage::of_postgres(&mut shop, time, cli.customers).await?,
        Drill::Overload => overload::run(&mut shop).await?,
    };
    let topic = shop.audit().await?;
    let bites = cli.drill == Drill::Faults && cli.cycles >= 50;
    ensure!(!bites || topic.copies > 0, "no event was sent twice: the faults did not bite");
    rows.extend([
        row("carts promised and kept", &shop.ledger.promised()),
        row("oversold, leaked, doubled or lost", &0),
        row("events in the topic", &topic.messages),
        row("of them sent twice, acted on once", &topic.copies),
    ]);
    Ok(table(rows))
}
