//! A fault a cycle, while customers shop.

use super::{row, table};
use anyhow::{Context, bail};
use chaos::Dice;
use chaos::fault::Fault;
use chaos::shop::Shop;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

/// What the run is to do.
pub(crate) struct Plan {
    pub(crate) cycles: u64,
    pub(crate) seed: u64,
    pub(crate) replicas: usize,
    pub(crate) customers: u64,
    /// Only this kind of fault.
    pub(crate) only: Option<String>,
    /// How long the shop may take to settle after each fault.
    pub(crate) settles: Duration,
}

/// Runs it, and answers its table.
pub(crate) async fn run(plan: &Plan, mut shop: Shop) -> anyhow::Result<String> {
    let mut dice = Dice::new(plan.seed);
    let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut took, mut failed) = (Vec::new(), 0);
    for cycle in 1..=plan.cycles {
        let fault = any_fault(plan, &mut dice)?;
        *faults.entry(fault.kind()).or_default() += 1;
        let name = format!("{}-{cycle}", plan.seed);
        let crowd = shop.crowd(plan.customers, &name, plan.seed + cycle * 1_000);
        sleep(Duration::from_millis(200 + dice.roll(800))).await;
        fault.strike(&mut shop.cluster).await?;
        sleep(Duration::from_millis(300)).await;
        crowd.goes().await;
        failed += shop.ledger.failed().len();
        let settled = shop.settles(plan.settles).await;
        let settled = settled.with_context(|| format!("cycle {cycle}, {fault}"))?;
        let promised = shop.ledger.promised();
        println!("cycle {cycle}: {fault}: settled in {settled:.1?}, {promised} carts promised");
        took.push(settled);
    }
    took.sort();
    let at = |share: usize| took.get((took.len() * share / 100).min(took.len() - 1));
    let at = |share| format!("{:.1?}", at(share).copied().unwrap_or_default());
    let promised = shop.ledger.promised();
    let topic = shop.close().await?;
    if plan.cycles >= 50 && topic.copies == 0 {
        bail!("no event was sent twice: the faults did not bite");
    }
    let mut rows = vec![
        row("seed", &plan.seed),
        row("cycles", &plan.cycles),
        row("replicas of each service and of the gateway", &plan.replicas),
    ];
    rows.extend(faults.iter().map(|(kind, count)| row(&format!("- {kind}"), count)));
    rows.extend([
        row("carts promised and kept", &promised),
        row("requests that failed meanwhile", &failed),
        row("oversold, leaked, doubled or lost", &0),
        row("events in the topic", &topic.messages),
        row("of them sent twice, acted on once", &topic.copies),
        row("settled after a fault, median", &at(50)),
        row("settled after a fault, slowest", &at(100)),
    ]);
    Ok(table(rows))
}

/// A fault as the dice fall, of the kind that was asked for.
fn any_fault(plan: &Plan, dice: &mut Dice) -> anyhow::Result<Fault> {
    for _ in 0..10_000 {
        let fault = Fault::any(dice, plan.replicas);
        if plan.only.as_ref().is_none_or(|only| only == fault.kind()) {
            return Ok(fault);
        }
    }
    bail!("there is no fault like {:?}", plan.only)
}
