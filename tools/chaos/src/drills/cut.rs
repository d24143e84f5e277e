//! Reservation calls that are cut: before they are sent, before they are committed, after that.

use super::{Row, row};
use anyhow::ensure;
use chaos::proxy::Weather;
use chaos::shop::Shop;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long the run may take for `calls` cuts.
const LONGEST: Duration = Duration::from_mins(10);

/// Cuts every third call to gifticon until `calls` were cut, and looks for units that leaked.
pub(crate) async fn run(shop: &mut Shop, calls: u64, customers: u64) -> anyhow::Result<Vec<Row>> {
    shop.cluster.front("gifticon").set(Weather::CutEveryThird);
    let crowd = shop.crowd(customers, "cut", 2);
    let until = Instant::now() + LONGEST;
    while shop.cluster.front("gifticon").cuts().iter().sum::<u64>() < calls {
        ensure!(
            Instant::now() < until,
            "only {:?} were cut",
            shop.cluster.front("gifticon").cuts()
        );
        sleep(Duration::from_millis(100)).await;
    }
    let [unsent, uncommitted, unanswered] = shop.cluster.front("gifticon").cuts();
    crowd.goes().await;
    shop.cluster.front("gifticon").set(Weather::Fair);
    let (requests, failed) = (shop.ledger.requests(), shop.ledger.failed().len());
    let settled = shop.settles().await?;
    Ok(vec![
        row("calls to gifticon cut before they were sent", &unsent),
        row("cut while gifticon worked on them", &uncommitted),
        row("cut when gifticon had committed", &unanswered),
        row("requests of customers", &requests),
        row("of them answered with an honest 503", &failed),
        row("settled after", &format!("{settled:.1?}")),
    ])
}
