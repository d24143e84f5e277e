//! A rolling restart under load: SIGTERM to one replica after another, and nobody notices.

use super::{Row, row};
use chaos::cluster::ALL;
use chaos::shop::Shop;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Restarts every replica of everything `rounds` times. Not one request may fail.
pub(crate) async fn run(
    shop: &mut Shop,
    rounds: u64,
    replicas: usize,
    customers: u64,
) -> anyhow::Result<Vec<Row>> {
    let crowd = shop.crowd(customers, "rolling", 1);
    let (mut restarts, mut slowest) = (0, Duration::ZERO);
    for _ in 0..rounds {
        for service in ALL {
            for number in 0..replicas {
                sleep(Duration::from_millis(300)).await;
                let began = Instant::now();
                shop.cluster.terminate(service, number).await?;
                slowest = slowest.max(began.elapsed());
                shop.cluster.start_replica(service, number)?;
                restarts += 1;
            }
        }
    }
    sleep(Duration::from_secs(1)).await;
    crowd.goes().await;
    let requests = shop.ledger.requests_all_answered()?;
    let settled = shop.settles().await?;
    Ok(vec![
        row("replicas restarted under load", &restarts),
        row("requests", &requests),
        row("of them failed", &0),
        row("slowest drain", &format!("{slowest:.1?}")),
        row("settled after", &format!("{settled:.1?}")),
    ])
}
