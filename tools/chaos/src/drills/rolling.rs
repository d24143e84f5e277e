//! Rolling restarts under load: one replica after another, and nobody notices.

use super::{Row, row};
use chaos::cluster::ALL;
use chaos::shop::Shop;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Between two replicas.
const PAUSE: Duration = Duration::from_millis(300);
/// What `preStop` of the manifests is, though shorter: a front here knows at once.
const DELAY: Duration = Duration::from_secs(1);

/// Restarts every replica of everything `rounds` times by a SIGTERM that comes unannounced, and as often
/// replaces it in Kubernetes' order. Not one request may fail.
pub(crate) async fn run(
    shop: &mut Shop,
    rounds: u64,
    replicas: usize,
    customers: u64,
) -> anyhow::Result<Vec<Row>> {
    let crowd = shop.crowd(customers, "rolling", 1);
    let (mut restarts, mut slowest) = (0, Duration::ZERO);
    let each = || ALL.into_iter().flat_map(|service| (0..replicas).map(move |one| (service, one)));
    for _ in 0..rounds {
        for (service, number) in each() {
            sleep(PAUSE).await;
            let began = Instant::now();
            shop.cluster.terminate(service, number).await?;
            slowest = slowest.max(began.elapsed());
            shop.cluster.start_replica(service, number)?;
            restarts += 1;
        }
        for (service, number) in each() {
            sleep(PAUSE).await;
            shop.cluster.replace(service, number, DELAY).await?;
        }
    }
    sleep(Duration::from_secs(1)).await;
    crowd.goes().await;
    let requests = shop.requests_all_answered().await?;
    let settled = shop.settles().await?;
    Ok(vec![
        row("replicas restarted under load, unannounced", &restarts),
        row("replicas replaced in Kubernetes' order", &restarts),
        row("requests", &requests),
        row("of them failed", &0),
        row("slowest drain, unannounced", &format!("{slowest:.1?}")),
        row("settled after", &format!("{settled:.1?}")),
    ])
}
