//! Injects one fault a cycle, while customers shop.

use super::{Row, row};
use crate::Cli;
use anyhow::{Context, bail};
use chaos::Dice;
use chaos::fault::Fault;
use chaos::progress::Progress;
use chaos::shop::Shop;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

/// Runs the cycles, and waits after each one until the shop has settled.
pub(crate) async fn run(shop: &mut Shop, plan: &Cli) -> anyhow::Result<Vec<Row>> {
    let mut dice = Dice::new(plan.seed);
    let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut took, mut failed) = (Vec::new(), 0);
    let mut progress = Progress::counting("faults", plan.cycles, "cycles");
    for cycle in 1..=plan.cycles {
        let fault = random_fault(plan, &mut dice)?;
        progress.reached(cycle - 1, plan.cycles, "cycles");
        *faults.entry(fault.kind()).or_default() += 1;
        let name = format!("{}-{cycle}", plan.seed);
        let shoppers = shop.start_customers(plan.customers, &name, plan.seed + cycle * 1_000);
        sleep(Duration::from_millis(200 + dice.roll(800))).await;
        fault.inject(&mut shop.cluster).await?;
        sleep(Duration::from_millis(300)).await;
        shoppers.stop().await;
        failed += shop.ledger.take_failed().len();
        progress.clear();
        let settled = shop.settle().await;
        let settled = settled.with_context(|| format!("cycle {cycle}, {fault}"))?;
        let promised = shop.ledger.carts_promised();
        println!(
            "cycle {cycle} of {}: {fault}: settled in {settled:.1?}, {promised} carts promised",
            plan.cycles
        );
        took.push(settled);
    }
    progress.reached(plan.cycles, plan.cycles, "cycles");
    drop(progress);
    took.sort();
    let at = |share: usize| took.get((took.len() * share / 100).min(took.len() - 1));
    let at = |share| format!("{:.1?}", at(share).copied().unwrap_or_default());
    let mut rows = vec![
        row("seed", &plan.seed),
        row("cycles", &plan.cycles),
        row("replicas of each service and of the gateway", &plan.replicas),
    ];
    rows.extend(faults.iter().map(|(kind, count)| row(&format!("- {kind}"), count)));
    rows.extend([
        row("requests that failed meanwhile", &failed),
        row("settled after a fault, median", &at(50)),
        row("settled after a fault, slowest", &at(100)),
    ]);
    Ok(rows)
}

/// Returns a random fault of the kind that `--only` names, or of any.
fn random_fault(plan: &Cli, dice: &mut Dice) -> anyhow::Result<Fault> {
    for _ in 0..10_000 {
        let fault = Fault::random(dice, plan.replicas);
        if plan.only.as_ref().is_none_or(|only| only == fault.kind()) {
            return Ok(fault);
        }
    }
    bail!("no kind of fault is called {:?}", plan.only)
}
