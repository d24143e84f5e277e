//! The fault run: `cargo run --release -p chaos -- --cycles 50 --seed 7`.

use anyhow::{Context, bail};
use chaos::cluster::Cluster;
use chaos::fault::Fault;
use chaos::ledger::Ledger;
use chaos::{Dice, Web, customers, inside};
use clap::Parser;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Has something die in every cycle, on real Kafka and Postgres with two replicas of each service, and
/// audits what the shop promised. Build the workspace in the same profile first.
#[derive(Debug, Parser)]
struct Cli {
    /// Faults, one a cycle
    #[arg(long, default_value_t = 50)]
    cycles: u64,
    /// What the dice begin with; the same seed gives the same faults
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Replicas of each service
    #[arg(long, default_value_t = 2)]
    replicas: usize,
    /// Customers at once
    #[arg(long, default_value_t = 12)]
    customers: u64,
    /// Only this kind of fault, as the table names it: "kill -9 of Kafka"
    #[arg(long)]
    only: Option<String>,
    /// Seconds that the shop may take to settle after each fault
    #[arg(long, default_value_t = 10)]
    settles: u64,
}

/// What the run saw.
#[derive(Default)]
struct Seen {
    faults: BTreeMap<&'static str, u64>,
    settled: Vec<Duration>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let began = Instant::now();
    match run(&cli).await {
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
    let mut cluster = Cluster::start(cli.replicas, cli.seed).await?;
    let (web, ledger, mut dice) = (cluster.web(), Arc::new(Ledger::default()), Dice::new(cli.seed));
    for (gifticon_id, units) in [(1, 1_000_000), (2, 40 * cli.cycles.cast_signed()), (3, 1_000_000)]
    {
        register(&web, &ledger, gifticon_id, units).await?;
    }
    let mut seen = Seen::default();
    for cycle in 1..=cli.cycles {
        let fault = any_fault(cli, &mut dice)?;
        *seen.faults.entry(fault.kind()).or_default() += 1;
        let settled = one_cycle(cli, cycle, fault, &mut cluster, &ledger, &mut dice).await;
        let settled = settled.with_context(|| format!("cycle {cycle}, {fault}"))?;
        println!(
            "cycle {cycle}: {fault}: settled in {settled:.1?}, {} carts promised",
            ledger.promised()
        );
        seen.settled.push(settled);
    }
    let topic = inside::topic(&cluster).await?;
    if cli.cycles >= 50 && topic.copies == 0 {
        bail!("no event was sent twice: the faults did not bite");
    }
    Ok(table(cli, &seen, &ledger, topic))
}

/// A fault as the dice fall, of the kind that was asked for.
fn any_fault(cli: &Cli, dice: &mut Dice) -> anyhow::Result<Fault> {
    for _ in 0..10_000 {
        let fault = Fault::any(dice, cli.replicas);
        if cli.only.as_ref().is_none_or(|only| only == fault.kind()) {
            return Ok(fault);
        }
    }
    bail!("there is no fault like {:?}", cli.only)
}

/// Load, a fault in the middle of it, and the audit.
async fn one_cycle(
    cli: &Cli,
    cycle: u64,
    fault: Fault,
    cluster: &mut Cluster,
    ledger: &Arc<Ledger>,
    dice: &mut Dice,
) -> anyhow::Result<Duration> {
    let (web, over, mut shoppers) = (cluster.web(), CancellationToken::new(), JoinSet::new());
    for customer in 0..cli.customers {
        let (web, ledger, over) = (web.clone(), Arc::clone(ledger), over.clone());
        let dice = Dice::new(cli.seed + cycle * 1_000 + customer);
        let name = format!("{}-{cycle}-{customer}", cli.seed);
        shoppers.spawn(customers::shop(web, ledger, dice, name, 3, over));
    }
    sleep(Duration::from_millis(200 + dice.roll(800))).await;
    fault.strike(cluster).await?;
    sleep(Duration::from_millis(300)).await;
    over.cancel();
    shoppers.join_all().await;

    let ended = Instant::now();
    ledger.ask_again(&web).await;
    loop {
        let outcome = match ledger.check(&web).await {
            Ok(()) => inside::check(cluster).await,
            outcome => outcome,
        };
        match outcome {
            Ok(()) => return Ok(ended.elapsed()),
            Err(why) if ended.elapsed() > Duration::from_secs(cli.settles) => {
                let number =
                    |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok();
                let cart = why
                    .split("cart ")
                    .nth(1)
                    .and_then(|rest| rest.split(' ').next().and_then(number));
                if let Some(cart) = cart {
                    eprintln!("{}", inside::history(cluster, cart).await?);
                }
                print_logs(cluster);
                bail!("not settled in {} s: {why}", cli.settles);
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Puts a gifticon on sale, however long the services take to find their databases.
async fn register(web: &Web, ledger: &Ledger, gifticon_id: i64, units: i64) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_mins(1);
    // A replica may find its database a little later than the other.
    while !web.try_register(gifticon_id, units, 5_000).await {
        anyhow::ensure!(Instant::now() < until, "the shop never opened");
        sleep(Duration::from_millis(100)).await;
    }
    ledger.put(gifticon_id, units);
    Ok(())
}

/// The last lines of every service, for whoever looks for the cause.
fn print_logs(cluster: &Cluster) {
    let Ok(files) = std::fs::read_dir(cluster.dir()) else { return };
    for file in files.filter_map(Result::ok).map(|file| file.path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!(
                "--- {}\n{}",
                file.display(),
                lines[lines.len().saturating_sub(15)..].join("\n")
            );
        }
    }
}

fn table(cli: &Cli, seen: &Seen, ledger: &Ledger, topic: inside::Topic) -> String {
    let mut settled = seen.settled.clone();
    settled.sort();
    let at = |share: usize| settled.get((settled.len() * share / 100).min(settled.len() - 1));
    let mut rows = vec![
        ("seed".to_owned(), cli.seed.to_string()),
        ("cycles".into(), cli.cycles.to_string()),
        ("replicas of each service".into(), cli.replicas.to_string()),
    ];
    rows.extend(seen.faults.iter().map(|(kind, count)| (format!("- {kind}"), count.to_string())));
    rows.extend([
        ("carts promised and kept".into(), ledger.promised().to_string()),
        ("oversold, leaked, doubled or lost".into(), "0".into()),
        ("events in the topic".into(), topic.messages.to_string()),
        ("of them sent twice, acted on once".into(), topic.copies.to_string()),
        (
            "settled after a fault, median".into(),
            format!("{:.1?}", at(50).copied().unwrap_or_default()),
        ),
        (
            "settled after a fault, slowest".into(),
            format!("{:.1?}", at(100).copied().unwrap_or_default()),
        ),
    ]);
    let rows: Vec<String> =
        rows.into_iter().map(|(what, count)| format!("| {what} | {count} |")).collect();
    format!("\n| what | |\n|---|---|\n{}", rows.join("\n"))
}
