//! kill -9 at random moments under load: what was answered is true, and the rest settles.

mod common;

use chaos::customers;
use chaos::ledger::Ledger;
use common::Dice;
use common::inside;
use common::process::Process;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Kills of a plain `cargo test`; the gate asks for 50.
const CYCLES: u64 = 5;
const CUSTOMERS: u64 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_the_shop_keeps_its_promises() {
    let (seed, cycles) = (common::seed(), common::setting("KILL_CYCLES").unwrap_or(CYCLES));
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let mut slowest = Duration::ZERO;
    for cycle in 0..=cycles {
        let shop = Process::start(dir.path(), &[]);
        if cycle == 0 {
            for (gifticon_id, units) in [(1, 1_000_000), (2, 300), (3, 1_000_000)] {
                shop.web.register(gifticon_id, units, 5000).await;
                ledger.put(gifticon_id, units);
            }
        } else {
            ledger.ask_again(&shop.web).await;
            slowest = slowest.max(ledger.audit(&shop.web).await);
        }
        if cycle == cycles {
            inside::settled(dir.path()).await;
            assert!(shop.terminate().await.success(), "a drain ends with exit code 0");
            break;
        }
        let mut dice = Dice::new(seed + cycle);
        let (mut shoppers, over) = (JoinSet::new(), CancellationToken::new());
        for customer in 0..CUSTOMERS {
            let dice = Dice::new(seed + cycle * 1_000 + customer);
            let (web, ledger) = (shop.web.clone(), Arc::clone(&ledger));
            shoppers.spawn(customers::shop(
                web,
                ledger,
                dice,
                format!("{cycle}-{customer}"),
                3,
                over.clone(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(30 + dice.roll(500))).await;
        shop.kill();
        over.cancel();
        shoppers.join_all().await;
    }
    println!(
        "{cycles} kills, {} carts promised, {} events sent again, settled within {slowest:?}",
        ledger.promised(),
        inside::copies(dir.path()).await
    );
}
