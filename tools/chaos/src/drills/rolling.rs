//! Rolling restarts under load: no request may fail.

use super::{Row, row};
use chaos::progress::Progress;
use chaos::shop::Shop;
use gateway::services::processes;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Time between two restarts.
const RESTART_INTERVAL: Duration = Duration::from_millis(300);
/// Time between the removal of a replica from its proxy and SIGTERM. `preStop` of the manifests is longer, because
/// kube-proxy learns of a removal later.
const PRE_STOP_DELAY: Duration = Duration::from_secs(1);

/// Restarts every replica `rounds` times by a SIGTERM that its proxy does not know of, and replaces it as often in the
/// order of Kubernetes.
pub(crate) async fn run(
    shop: &mut Shop,
    rounds: u64,
    replicas: usize,
    customers: u64,
) -> anyhow::Result<Vec<Row>> {
    let shoppers = shop.start_customers(customers, "rolling", 1);
    let (mut restarts, mut slowest) = (0, Duration::ZERO);
    let each =
        || processes().into_iter().flat_map(|service| (0..replicas).map(move |one| (service, one)));
    let total = 2 * rounds * each().count() as u64;
    let (mut progress, mut done) = (Progress::counting("rolling restarts", total, "replicas"), 0);
    for _ in 0..rounds {
        for (service, number) in each() {
            sleep(RESTART_INTERVAL).await;
            let began = Instant::now();
            shop.cluster.terminate(service, number).await?;
            slowest = slowest.max(began.elapsed());
            shop.cluster.start_ready_replica(service, number).await?;
            restarts += 1;
            done += 1;
            progress.reached(done, total, "replicas");
        }
        for (service, number) in each() {
            sleep(RESTART_INTERVAL).await;
            shop.cluster.replace(service, number, PRE_STOP_DELAY).await?;
            done += 1;
            progress.reached(done, total, "replicas");
        }
    }
    drop(progress);
    sleep(Duration::from_secs(1)).await;
    shoppers.stop().await;
    let requests = shop.requests_all_answered().await?;
    let settled = shop.settle().await?;
    Ok(vec![
        row("replicas restarted under load, unannounced", &restarts),
        row("replicas replaced in Kubernetes' order", &restarts),
        row("requests", &requests),
        row("of them failed", &0),
        row("slowest drain, unannounced", &format!("{slowest:.1?}")),
        row("settled after", &format!("{settled:.1?}")),
    ])
}
