//! The drills. `chaos --cycles 50 --seed 7` injects random faults; the others inject one kind of fault each: `chaos story`,
//! `chaos rolling`, `chaos cut`, `chaos kafka-away`, `chaos postgres-away`, `chaos overload`.

mod drills;

use anyhow::ensure;
use chaos::account::People;
use chaos::cluster::Cluster;
use chaos::open_page::OpenPage;
use chaos::progress::Progress;
use chaos::shop::Shop;
use clap::{Parser, ValueEnum};
use drills::{cut, faults, outage, overload, rolling, row, story, table};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Injects faults into the shop, with two replicas of each process on a real Kafka and Postgres, while customers shop; then
/// audits what the shop promised. Build the workspace with the same profile first.
#[derive(Debug, Parser)]
struct Cli {
    /// The drill
    #[arg(value_enum, default_value_t = Drill::Faults)]
    drill: Drill,
    /// faults: number of faults, one a cycle
    #[arg(long, default_value_t = 50)]
    cycles: u64,
    /// faults: seed of the random numbers; the same seed gives the same faults
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// faults: only this kind, by its name in the table, such as "kill -9 of Kafka"
    #[arg(long)]
    only: Option<String>,
    /// Bound in seconds for the shop to settle after a fault or at the end; a slow machine needs more
    #[arg(long, default_value_t = 10)]
    settles: u64,
    /// cut: number of calls to cut
    #[arg(long, default_value_t = 10_000)]
    calls: u64,
    /// rolling: number of restarts of each replica
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    /// kafka-away, postgres-away: duration of the outage in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Replicas of each service
    #[arg(long, default_value_t = 2)]
    replicas: usize,
    /// Number of customers
    #[arg(long, default_value_t = 12)]
    customers: u64,
    /// Serve an issuer of tokens on loopback, whose keys change, and let customers of five owners, an MD and an operator use the
    /// shop with them; guests are refused. Not for story
    #[arg(long)]
    issuer: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drill {
    /// No fault: the purchase of the original sample
    Story,
    /// One random fault a cycle
    Faults,
    /// Rolling restarts: no request may fail
    Rolling,
    /// Calls from cart to gifticon that are cut: no unit may leak
    Cut,
    /// An outage of Kafka: carts are added, and their events follow in order
    KafkaAway,
    /// An outage of Postgres: 503, and recovery without help
    PostgresAway,
    /// Three times the capacity: the goodput stays, and the rest is refused
    Overload,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut terminated = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    let cli = Cli::parse();
    let began = Instant::now();
    let outcome = tokio::select! {
        outcome = run(&cli) => outcome,
        // A signal drops `run`, and so ends all processes.
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
    ensure!(
        !cli.issuer || cli.drill != Drill::Story,
        "the original's story is played without tokens: leave --issuer out"
    );
    // In `rolling`, no request may fail, so a call may take as long as it does on a busy machine.
    let gifticon_timeout = Duration::from_secs(if cli.drill == Drill::Rolling { 5 } else { 1 });
    let starting =
        format!("starting Kafka, Postgres and {} replicas of each process", cli.replicas);
    let starting = Progress::begin(starting);
    let people = if cli.issuer { People::with_issuer().await } else { People::default() };
    let cluster = Cluster::start(cli.replicas, cli.seed, gifticon_timeout, people.issuer())?;
    let mut shop = Shop::open(cluster, people, Duration::from_secs(cli.settles)).await?;
    drop(starting);
    if cli.drill != Drill::Story {
        shop.stock_up(40 * cli.cycles.cast_signed()).await?;
    }
    let time = Duration::from_secs(cli.seconds);
    let page = OpenPage::of(&shop.web);
    let mut rows = match cli.drill {
        Drill::Faults => faults::run(&mut shop, cli).await?,
        Drill::Story => story::run(&mut shop).await?,
        Drill::Rolling => rolling::run(&mut shop, cli.rounds, cli.replicas, cli.customers).await?,
        Drill::Cut => cut::run(&mut shop, cli.calls, cli.customers).await?,
        Drill::KafkaAway => outage::of_kafka(&mut shop, time, cli.customers).await?,
        Drill::PostgresAway => outage::of_postgres(&mut shop, time, cli.customers).await?,
        Drill::Overload => overload::run(&mut shop).await?,
    };
    let auditing = Progress::begin("auditing");
    let topic = shop.audit().await?;
    drop(auditing);
    let (events, connects) = page.agrees(&shop.web).await?;
    let expects_copies = cli.drill == Drill::Faults && cli.cycles >= 50;
    ensure!(
        !expects_copies || topic.copies > 0,
        "no event was sent twice: no fault came between sending and deleting"
    );
    rows.extend([
        row("carts promised and kept", &shop.ledger.carts_promised()),
        row("oversold, leaked, doubled or lost", &0),
        row("events in the topic", &topic.messages),
        row("of them copies of an earlier one, acted on once", &topic.copies),
        row("events that an open page was told, until it showed what the shop says", &events),
        row("how often its two streams connected", &connects),
    ]);
    if let Some(keys) = shop.people.keys() {
        rows.push(row("keys that the issuer signed tokens with, one after another", &keys));
        rows.push(row("rows of another owner, or seen by another", &0));
    }
    Ok(table(rows))
}
