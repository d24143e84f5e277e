//! Searches the highest open-loop rate that the shop holds: nobody is refused, and p99 stays within a bound.

use crate::flush::DiskProbe;
use crate::load::{self, Requests};
use crate::measure::{self, drains};
use crate::neighbour::Neighbour;
use crate::report::{Report, Row};
use crate::shop::Shop;
use anyhow::bail;
use chaos::progress::during;
use std::sync::Arc;
use std::time::Duration;

/// Bound for the p99 of a rate that counts as held.
const P99_MAX_MS: f64 = 50.0;
/// Time of a run that narrows the search. In a run of 5 s its cold start alone can be the slowest hundredth.
const NARROWING_TIME: Duration = Duration::from_secs(15);
/// Rates that narrow the search. Each halves what is left: six leave 2 % of the closed-loop rate.
const NARROWING_RATES: u32 = 6;
/// The search begins with everything up to this share of the closed-loop rate. An open loop may go beyond that of 100 customers.
const HIGHEST_SHARE: f64 = 1.25;
/// Runs of the full time, each at a lower rate than the last.
const CONFIRMING_RUNS: u32 = 6;
/// The next rate, of the last one that was not held for the full time.
const NEXT_LOWER: f64 = 0.95;
/// Offered rate after an overload, as a share of the closed-loop rate, until nobody is refused any more.
const REST_SHARE: f64 = 0.1;
/// Bound for that, in seconds, which are also runs.
const REST_RUNS: u32 = 60;

/// What is searched for.
pub(crate) struct Held<'s> {
    pub(crate) shop: &'s Shop,
    /// Beginning of the names of its rows.
    pub(crate) name: String,
    pub(crate) requests: Requests,
    /// The closed-loop rate.
    pub(crate) capacity: f64,
}

impl Held<'_> {
    /// Searches the highest rate that is held for `time`, and adds its row; with `neighbour`, beside one.
    pub(crate) async fn run(
        &self,
        time: Duration,
        neighbour: bool,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let beside = if neighbour { ", beside a neighbour on half a core" } else { "" };
        let name = format!("{}, highest rate held for {} s{beside}", self.name, time.as_secs());
        let neighbour = neighbour.then(Neighbour::start);
        let short = NARROWING_TIME.min(time);
        let found = search(
            self.capacity,
            async |rate| Ok(self.try_rate(rate, short, &name).await?.1),
            async |rate| {
                let (row, held) = self.try_rate(rate, time, &name).await?;
                Ok(held.then_some(row))
            },
        )
        .await?;
        match found {
            Some(row) => {
                let share = format!("{:.0} %", 100.0 * row.rate / self.capacity);
                report.add(row, None);
                report.fact(&format!("{name}: of the closed-loop rate"), share);
            }
            None => report.fact(&name, "none"),
        }
        if let Some(neighbour) = neighbour {
            report.fact("the neighbour got", format!("{:.2} of a core", neighbour.stop()));
        }
        Ok(())
    }

    /// Runs an open loop, and returns its row and whether the rate was held. Failures are no error here: the rate may be far
    /// beyond what the shop can do.
    async fn try_rate(&self, rate: f64, time: Duration, name: &str) -> anyhow::Result<(Row, bool)> {
        let (addr, before) = (self.shop.addr("gateway"), self.shop.cpu());
        let probe = DiskProbe::start()?;
        let load = load::open(addr, rate, time, Arc::clone(&self.requests));
        let mut measured = during(format!("{name}: {rate:.0}/s"), Some(time), load).await;
        let cpu = self.shop.cpu().zip(before).map(|(now, before)| now - before);
        let flushes = probe.stop()?;
        let failed = std::mem::take(&mut measured.failed);
        let mut row = measure::row(self.shop, name, &measured, cpu)?;
        (row.failed, row.flushes) = (failed, Some(flushes));
        let held = is_held(&row);
        let verdict = if held { "held" } else { "not held" };
        eprintln!(
            "{name}: {rate:.0}/s for {} s is {verdict}: p99 {:.1} ms, {} refused, {failed} failed",
            time.as_secs(),
            row.p99_ms,
            row.refused
        );
        drains(self.shop).await?;
        if !held {
            self.rest().await?;
        }
        Ok((row, held))
    }

    /// Waits until a low rate is served again: after an overload, a circuit breaker may stay open for a while.
    async fn rest(&self) -> anyhow::Result<()> {
        let (addr, rate) = (self.shop.addr("gateway"), self.capacity * REST_SHARE);
        for _ in 0..REST_RUNS {
            let second = Duration::from_secs(1);
            let measured = load::open(addr, rate, second, Arc::clone(&self.requests)).await;
            if measured.refused + measured.failed == 0 {
                drains(self.shop).await?;
                return Ok(());
            }
        }
        bail!("{rate:.0}/s are still refused {REST_RUNS} s after an overload")
    }
}

fn is_held(row: &Row) -> bool {
    row.refused == 0 && row.failed == 0 && row.p99_ms <= P99_MAX_MS
}

/// Returns what `confirm` returns for the highest rate that it confirms, or `None` if there is none. Narrows by halves with
/// `is_held` first, up to [`HIGHEST_SHARE`] of `capacity`, and then goes down until a rate is confirmed.
async fn search<T>(
    capacity: f64,
    mut is_held: impl AsyncFnMut(f64) -> anyhow::Result<bool>,
    mut confirm: impl AsyncFnMut(f64) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let (mut held, mut too_high) = (0.0, capacity * HIGHEST_SHARE);
    for _ in 0..NARROWING_RATES {
        let middle = f64::midpoint(held, too_high);
        // Twice: one stall of the disk would halve what is found.
        if is_held(middle).await? || is_held(middle).await? {
            held = middle;
        } else {
            too_high = middle;
        }
    }
    if held == 0.0 {
        return Ok(None); // not even the lowest rate that was tried
    }
    for _ in 0..CONFIRMING_RUNS {
        let confirmed = confirm(held).await?;
        if confirmed.is_some() {
            return Ok(confirmed);
        }
        held *= NEXT_LOWER;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where rates up to `short` are held for a short time, and those up to `long` for the full time.
    async fn found(capacity: f64, short: f64, long: f64) -> Option<f64> {
        let confirm = async |rate| Ok((rate <= long).then_some(rate));
        search(capacity, async |rate| Ok(rate <= short), confirm).await.unwrap()
    }

    #[tokio::test]
    async fn the_highest_rate_is_found_within_two_percent_of_the_capacity() {
        for limit in [100.0, 500.0, 870.0, 1_000.0, 1_240.0] {
            let found = found(1_000.0, limit, limit).await.unwrap();
            assert!(found <= limit && found > limit - 20.0, "{found} of {limit}");
        }
    }

    #[tokio::test]
    async fn a_rate_that_is_not_held_for_the_full_time_is_lowered() {
        let found = found(1_000.0, 800.0, 700.0).await.unwrap();
        assert!(found <= 700.0 && found > 700.0 * NEXT_LOWER * NEXT_LOWER, "{found}");
    }

    #[tokio::test]
    async fn one_run_that_fails_does_not_lower_the_rate() {
        let mut runs = 0;
        let every_other = async |rate| {
            runs += 1;
            Ok(runs % 2 == 0 && rate <= 800.0)
        };
        let found = search(1_000.0, every_other, async |rate| Ok(Some(rate))).await.unwrap();
        assert!(found.is_some_and(|rate| rate > 780.0), "{found:?}");
    }

    #[tokio::test]
    async fn nothing_is_found_where_nothing_is_held() {
        assert_eq!(found(1_000.0, 0.0, 0.0).await, None);
        assert_eq!(found(1_000.0, 800.0, 10.0).await, None);
    }

    #[test]
    fn a_refusal_a_failure_or_a_late_answer_is_not_held() {
        let held = Row { p99_ms: 50.0, ..Row::default() };
        assert!(is_held(&held));
        assert!(!is_held(&Row { refused: 1, ..held.clone() }));
        assert!(!is_held(&Row { failed: 1, ..held.clone() }));
        assert!(!is_held(&Row { p99_ms: 50.1, ..held }));
    }
}
