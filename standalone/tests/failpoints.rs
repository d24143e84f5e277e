//! The process dies at each named point of the saga. Needs `--features failpoints`.

mod common;

use chaos::ledger::Ledger;
use common::audit;
use common::process::Process;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Lets the shop die when it passes a point for the first and for the seventh time, then when it passes `then`, restarts it, and
/// audits it.
async fn dies_at(point: &str, then: Option<&str>) {
    for after in ["1", "7"] {
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
                    let key = (step % 2 == 0).then(|| format!("{customer}-{step}"));
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
            let shop = Process::start(dir.path(), &[("KILL_AT", then), ("KILL_AFTER", "1")]);
            let status = shop.ended(Duration::from_secs(20)).await;
            assert_eq!(status.code(), None, "it did not die at {then}: {status}");
        }

        let shop = Process::start(dir.path(), &[]);
        ledger.replay_keys(&shop.web).await;
        ledger.audit(&shop.web).await;
        audit::settled(dir.path()).await;
        assert!(shop.terminate().await.success());
    }
}

macro_rules! dies_at {
    ($($test:ident: $point:literal, $then:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() { dies_at($point, $then).await; })*
    };
}

dies_at!(
    after_the_attempt: "cart-after-attempt", None;
    after_the_reservation: "cart-after-reserve", None;
    after_the_confirmation: "cart-after-confirm", None;
    between_expiry_and_release: "cart-after-reserve", Some("sweeper-after-expiry");
    between_release_and_its_record: "cart-after-reserve", Some("sweeper-after-release");
    between_send_and_delete: "relay-after-send", None;
    between_effect_and_offset: "consumer-after-effect", None;
);
