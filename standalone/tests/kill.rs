//! kill -9 at random moments under load: what was answered is true, and the rest settles.

mod common;

use chaos::ledger::Ledger;
use common::inside;
use common::process::Process;
use common::{Dice, Web};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

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
        let mut customers = JoinSet::new();
        for customer in 0..CUSTOMERS {
            let dice = Dice::new(seed + cycle * 1_000 + customer);
            let (web, ledger) = (shop.web.clone(), Arc::clone(&ledger));
            customers.spawn(shop_until_it_dies(web, ledger, dice, format!("{cycle}-{customer}")));
        }
        tokio::time::sleep(Duration::from_millis(30 + dice.roll(500))).await;
        shop.kill();
        customers.join_all().await;
    }
    println!(
        "{cycles} kills, {} carts promised, {} events sent again, settled within {slowest:?}",
        ledger.promised(),
        inside::copies(dir.path()).await
    );
}

/// Adds and cancels carts until the shop does not answer any more.
async fn shop_until_it_dies(web: Web, ledger: Arc<Ledger>, mut dice: Dice, name: String) {
    let mut mine = Vec::new();
    for step in 0.. {
        if mine.is_empty() || dice.roll(10) < 7 {
            let key = (dice.roll(2) == 0).then(|| format!("{name}-{step}"));
            let (gifticon, quantity) = (dice.roll(3) + 1, dice.roll(5) + 1);
            let (gifticon, quantity) = (gifticon.cast_signed(), quantity.cast_signed());
            mine.extend(ledger.add(&web, gifticon, quantity, key.as_deref()).await);
        } else {
            let one = usize::try_from(dice.roll(mine.len() as u64)).unwrap();
            ledger.cancel(&web, mine.swap_remove(one)).await;
        }
        if dice.roll(20) == 0 && web.all("mypages").await.is_err() {
            return;
        }
        if web.client.get(format!("{}/actuator/health/liveness", web.base)).send().await.is_err() {
            return;
        }
    }
}
