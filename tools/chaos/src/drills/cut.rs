//! Cuts calls from cart to gifticon: before the request is passed on, before the answer comes, and after it.

use super::{Row, row};
use anyhow::ensure;
use chaos::progress::Progress;
use chaos::proxy::NetworkCondition;
use chaos::shop::Shop;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Bound for the run.
const RUN_TIMEOUT: Duration = Duration::from_mins(10);

/// Cuts every third call to gifticon until `calls` were cut, and checks that no unit leaked.
pub(crate) async fn run(shop: &mut Shop, calls: u64, customers: u64) -> anyhow::Result<Vec<Row>> {
    shop.cluster.proxy("gifticon").set(NetworkCondition::CutEveryThird);
    let shoppers = shop.start_customers(customers, "cut", 2);
    let until = Instant::now() + RUN_TIMEOUT;
    let mut progress = Progress::counting("cutting calls to gifticon", calls, "calls");
    loop {
        let cut = shop.cluster.proxy("gifticon").cuts().iter().sum::<u64>();
        progress.reached(cut.min(calls), calls, "calls");
        if cut >= calls {
            break;
        }
        ensure!(
            Instant::now() < until,
            "only {:?} were cut",
            shop.cluster.proxy("gifticon").cuts()
        );
        sleep(Duration::from_millis(100)).await;
    }
    drop(progress);
    let [unsent, uncommitted, unanswered] = shop.cluster.proxy("gifticon").cuts();
    shoppers.stop().await;
    shop.cluster.proxy("gifticon").set(NetworkCondition::Normal);
    let (requests, failed) = (shop.ledger.requests(), shop.ledger.take_failed().len());
    let settled = shop.settle().await?;
    Ok(vec![
        row("calls to gifticon cut before gifticon had them", &unsent),
        row("cut before gifticon answered", &uncommitted),
        row("cut after gifticon answered", &unanswered),
        row("requests of customers", &requests),
        row("of them answered with 503", &failed),
        row("settled after", &format!("{settled:.1?}")),
    ])
}
