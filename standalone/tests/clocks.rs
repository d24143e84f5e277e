//! Jumps of the wall clock by hours, forwards and back, under load and across kill -9: no request fails, nothing is lost,
//! and what a crash left settles in seconds. A preloaded library changes the clock (`common/clock.c`).
#![cfg(target_os = "linux")]

mod common;

use chaos::customers::Customers;
use chaos::ledger::Ledger;
use chassis::testing::eventually;
use common::process::Process;
use common::{ShopClient, audit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const CUSTOMERS: u64 = 8;
/// Load after each jump: the sweeper runs six times.
const LOAD_DURATION: Duration = Duration::from_secs(3);

const SECONDS_PER_HOUR: i64 = 60 * 60;

/// A clock that the test sets.
struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// Returns a clock that is right. Its files are in `dir`.
    fn new(dir: &Path) -> Self {
        let clock = Self { library: dir.join("clock.so"), offset: dir.join("offset") };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/clock.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        let compiled = compile.arg(&clock.library).arg(source).status();
        assert!(compiled.expect("there is a C compiler").success(), "{source} compiles");
        std::fs::write(&clock.offset, 0_i64.to_ne_bytes()).unwrap();
        clock
    }

    /// Makes the clock of the processes wrong by so many hours from now on.
    fn set(&self, hours: i64) {
        let file = File::options().write(true).open(&self.offset).unwrap();
        file.write_all_at(&(hours * SECONDS_PER_HOUR).to_ne_bytes(), 0).unwrap();
    }

    fn start(&self, dir: &Path) -> Process {
        let (library, offset) = (self.library.to_str().unwrap(), self.offset.to_str().unwrap());
        Process::start(dir, &[("LD_PRELOAD", library), ("CLOCK_OFFSET_FILE", offset)])
    }
}

fn customers(web: &ShopClient, ledger: &Arc<Ledger>, seed: u64) -> Customers {
    Customers::start(web, ledger, CUSTOMERS, 1, &seed.to_string(), seed)
}

/// Returns when a new cart was added by the clock of the shop.
async fn shop_time(web: &ShopClient, ledger: &Ledger) -> String {
    let id = ledger.add(web, 1, 1, None).await.expect("a cart");
    eventually("its view", async || {
        let path = format!("/mypages/search/findByCartId?cartId={id}");
        let (status, view) = web.ask(reqwest::Method::GET, &path, None).await.ok()?;
        (status == 200).then(|| view["createdAt"].as_str().unwrap().to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_changes_nothing() {
    let (dir, of_clock) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = Clock::new(of_clock.path());
    let (seed, ledger) = (common::seed(), Arc::new(Ledger::default()));

    let shop = clock.start(dir.path());
    shop.web.register(1, 1_000_000, 5000).await;
    ledger.register(1, 1_000_000);
    let shoppers = customers(&shop.web, &ledger, seed);
    let start = shop_time(&shop.web, &ledger).await;
    for hours in [-2, 2, 24, -24, 26] {
        clock.set(hours);
        let now = shop_time(&shop.web, &ledger).await;
        // Instants as text are in the order of time.
        assert_eq!(now < start, hours < 0, "the clock shows {now}, {hours} hours from {start}");
        tokio::time::sleep(LOAD_DURATION).await;
    }
    assert_eq!(ledger.take_failed(), [""; 0], "no request fails");
    shop.kill();
    shoppers.stop().await;

    // 26 hours ahead, idempotency keys are still kept.
    let shop = clock.start(dir.path());
    let shoppers = customers(&shop.web, &ledger, seed + 100);
    tokio::time::sleep(LOAD_DURATION).await;
    ledger.replay_keys(&shop.web).await;
    shop.kill();
    shoppers.stop().await;

    // The clock is right again: what was under way does not wait until the earlier time comes again.
    clock.set(0);
    let shop = clock.start(dir.path());
    let settled = ledger.audit(&shop.web).await;
    audit::settled(dir.path()).await;
    ledger.replay_keys(&shop.web).await;
    ledger.audit(&shop.web).await;
    assert!(shop.terminate().await.success(), "a drain ends with exit code 0");
    println!("{} carts promised, settled within {settled:?}", ledger.carts_promised());
}
