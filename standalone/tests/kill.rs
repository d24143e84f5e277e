//! kill -9 at random moments under load: what was answered stays true, and the shop settles.

mod common;

use chaos::customers::Customers;
use chaos::ledger::Ledger;
use common::process::Process;
use common::{Dice, GIFTICONS, audit, stock_up};
use std::sync::Arc;
use std::time::Duration;

/// Kills without `KILL_CYCLES`; the gate asks for 50.
const DEFAULT_CYCLES: u64 = 5;
const CUSTOMERS: u64 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_the_shop_keeps_its_promises() {
    let (seed, cycles) = (common::seed(), common::setting("KILL_CYCLES").unwrap_or(DEFAULT_CYCLES));
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let mut slowest = Duration::ZERO;
    for cycle in 0..=cycles {
        let shop = Process::start(dir.path(), &[]);
        if cycle == 0 {
            stock_up(&shop.web, &ledger).await;
        } else {
            ledger.replay_keys(&shop.web).await;
            slowest = slowest.max(ledger.audit(&shop.web).await);
        }
        if cycle == cycles {
            audit::settled(dir.path()).await;
            assert!(shop.terminate().await.success(), "a drain ends with exit code 0");
            break;
        }
        let mut dice = Dice::new(seed + cycle);
        let (name, seed) = (cycle.to_string(), seed + cycle * 1_000);
        let shoppers = Customers::start(&shop.web, &ledger, CUSTOMERS, GIFTICONS, &name, seed);
        tokio::time::sleep(Duration::from_millis(30 + dice.roll(500))).await;
        shop.kill();
        shoppers.stop().await;
    }
    println!(
        "{cycles} kills, {} carts promised, {} events sent again, settled within {slowest:?}",
        ledger.carts_promised(),
        audit::copies(dir.path()).await
    );
}
