//! The wall clock of the process is stepped by hours, both ways, under load and across kill -9: nobody is refused, nothing
//! is lost, and what a crash left is settled in seconds. A preloaded library steps it (`common/clock.c`).
#![cfg(target_os = "linux")]

mod common;

use chaos::customers;
use chaos::ledger::Ledger;
use chassis::testing::eventually;
use common::process::Process;
use common::{Dice, Web, inside};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const CUSTOMERS: u64 = 8;
/// How long the shop is open after each step: the sweeper looks six times.
const OPEN: Duration = Duration::from_secs(3);

/// Seconds.
const HOUR: i64 = 60 * 60;

/// A clock that the test sets.
struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// A right one. Its files are in `dir`.
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

    /// Has the processes go by a clock that is wrong by so many hours, from now on.
    fn set(&self, hours: i64) {
        let file = File::options().write(true).open(&self.offset).unwrap();
        file.write_all_at(&(hours * HOUR).to_ne_bytes(), 0).unwrap();
    }

    fn start(&self, dir: &Path) -> Process {
        let (library, offset) = (self.library.to_str().unwrap(), self.offset.to_str().unwrap());
        Process::start(dir, &[("LD_PRELOAD", library), ("CLOCK_OFFSET_FILE", offset)])
    }
}

/// Customers who shop until they are stopped.
struct Shoppers(JoinSet<()>, CancellationToken);

impl Shoppers {
    fn start(web: &Web, ledger: &Arc<Ledger>, seed: u64) -> Self {
        let (mut shoppers, over) = (JoinSet::new(), CancellationToken::new());
        for customer in 0..CUSTOMERS {
            let (web, ledger) = (web.clone(), Arc::clone(ledger));
            let (dice, name) = (Dice::new(seed + customer), format!("{seed}-{customer}"));
            shoppers.spawn(customers::shop(web, ledger, dice, name, 1, over.clone()));
        }
        Self(shoppers, over)
    }

    async fn stop(self) {
        self.1.cancel();
        self.0.join_all().await;
    }
}

/// What the shop's clock shows: when a new cart was added.
async fn shown(web: &Web, ledger: &Ledger) -> String {
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
    ledger.put(1, 1_000_000);
    let shoppers = Shoppers::start(&shop.web, &ledger, seed);
    let start = shown(&shop.web, &ledger).await;
    for hours in [-2, 2, 24, -24, 26] {
        clock.set(hours);
        let now = shown(&shop.web, &ledger).await;
        // Instants as text are in the order of time.
        assert_eq!(now < start, hours < 0, "the clock shows {now}, {hours} hours from {start}");
        tokio::time::sleep(OPEN).await;
    }
    assert_eq!(ledger.failed(), [""; 0], "nobody is refused");
    shop.kill();
    shoppers.stop().await;

    // A day and two hours later: no key is forgotten.
    let shop = clock.start(dir.path());
    let shoppers = Shoppers::start(&shop.web, &ledger, seed + 100);
    tokio::time::sleep(OPEN).await;
    ledger.ask_again(&shop.web).await;
    shop.kill();
    shoppers.stop().await;

    // The clock is put right: what was under way is not held back until it gets there again.
    clock.set(0);
    let shop = clock.start(dir.path());
    let settled = ledger.audit(&shop.web).await;
    inside::settled(dir.path()).await;
    ledger.ask_again(&shop.web).await;
    ledger.audit(&shop.web).await;
    assert!(shop.terminate().await.success(), "a drain ends with exit code 0");
    println!("{} carts promised, settled within {settled:?}", ledger.promised());
}
