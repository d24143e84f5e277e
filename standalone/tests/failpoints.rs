//! The process dies at each named point of the saga. Needs `--features failpoints`.

mod common;

use chaos::ledger::Ledger;
use common::audit;
use common::process::{Process, ended};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Starts the shop, which may die before it serves, and waits until it has.
async fn dies_in_the_clean_up(dir: &Path, point: &str) {
    let mut shop = Process::command(dir);
    shop.envs([("KILL_AT", point), ("KILL_AFTER", "1")]).stdout(Stdio::null());
    let mut shop = shop.spawn().unwrap();
    let status = ended(&mut shop, Duration::from_secs(20)).await;
    if status.is_none() {
        shop.kill().unwrap();
    }
    let died = status.is_some_and(|status| status.code().is_none());
    assert!(died, "it did not die at {point}: {status:?}");
}

/// Lets the shop die when it passes a point as often as `after` says, then when it passes `then`, restarts it, and audits it.
async fn dies_at(point: &str, after: &[&str], then: Option<&str>) {
    for &after in after {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::default());
        let shop = Process::start(dir.path(), &[]);
        shop.web.register(1, 1_000, 5000).await;
        ledger.register(1, 1_000);
        ledger.audit(&shop.web).await; // the event of the registration is sent and read
        assert!(shop.terminate().await.success());

        let shop = Process::start(dir.path(), &[("KILL_AT", point), ("KILL_AFTER", after)]);
        let mut customers = JoinSet::new();
        for customer in 0..4 {
            let (web, ledger) = (shop.web.clone(), Arc::clone(&ledger));
            customers.spawn(async move {
                for step in 0..40 {
                    let key = ((customer + step) % 2 == 1).then(|| format!("{customer}-{step}"));
                    let id = ledger.add(&web, 1, 2, key.as_deref()).await;
                    if let (Some(id), 0) = (id, step % 3) {
                        ledger.cancel(&web, id).await;
                    }
                }
            });
        }
        customers.join_all().await;
        let status = shop.ended(Duration::from_secs(20)).await;
        assert_eq!(status.code(), None, "it did not die at {point}: {status}");
        if let Some(then) = then {
            dies_in_the_clean_up(dir.path(), then).await;
        }

        let shop = Process::start(dir.path(), &[]);
        ledger.replay_keys(&shop.web).await;
        ledger.audit(&shop.web).await;
        audit::settled(dir.path()).await;
        assert!(shop.terminate().await.success());
    }
}

macro_rules! dies_at {
    ($($test:ident: $point:literal, $after:expr, $then:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() { dies_at($point, $after, $then).await; })*
    };
}

/// There is a block for each second at least.
const ONCE: &[&str] = &["1"];
const EARLY_AND_LATER: &[&str] = &["1", "7"];

dies_at!(
    after_the_block: "cart-after-block", ONCE, None;
    before_the_block_is_deleted: "cart-before-close", ONCE, None;
    after_the_attempt: "cart-after-attempt", EARLY_AND_LATER, None;
    after_the_reservation: "cart-after-reserve", EARLY_AND_LATER, None;
    after_the_confirmation: "cart-after-confirm", EARLY_AND_LATER, None;
    between_expiry_and_release: "cart-after-reserve", EARLY_AND_LATER, Some("sweeper-after-expiry");
    between_release_and_its_record: "cart-after-reserve", ONCE, Some("sweeper-after-release");
    between_send_and_delete: "relay-after-send", EARLY_AND_LATER, None;
    between_effect_and_offset: "consumer-after-effect", EARLY_AND_LATER, None;
);
