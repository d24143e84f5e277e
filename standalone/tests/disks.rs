//! Disks that are full, read-only or broken, under load: requests are refused meanwhile, and the shop recovers by itself
//! (G10).

mod common;

use chaos::customers::Customers;
use chaos::ledger::Ledger;
use common::process::Process;
use common::{Dice, GIFTICONS, audit, server, stock_up};
use gateway::services::names;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CUSTOMERS: u64 = 8;
/// Duration of a fault.
const FAULT_DURATION: Duration = Duration::from_millis(500);
/// Held by the test that runs: each one keeps two cores busy, and its shop has to settle in 10 s.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Error numbers of Linux.
const EIO: u32 = 5;
const ENOSPC: u32 = 28;
const EROFS: u32 = 30;

/// Returns parts of the names of files that the process writes. Each matches a database with its WAL and lock; the last matches all.
fn files() -> Vec<String> {
    names().into_iter().chain(["events", ""]).map(|name| format!("{name}.db")).collect()
}

/// Faults of files, injected by a library that is preloaded into the shop (`disks/faults.c`).
struct Faults {
    library: PathBuf,
    control: PathBuf,
}

impl Faults {
    fn new(dir: &Path) -> Self {
        let (library, control) = (dir.join("faults.so"), dir.join("fault"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disks/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([library.as_path(), Path::new(source)])
            .arg("-ldl")
            .status();
        assert!(compiled.expect("there is a C compiler").success());
        Self { library, control }
    }

    fn start(&self, data: &Path) -> Process {
        let (library, control) = (self.library.to_str().unwrap(), self.control.to_str().unwrap());
        Process::start(data, &[("LD_PRELOAD", library), ("DISK_FAULT", control)])
    }

    /// Lets one in `one_in` calls on files whose paths contain `pattern` fail from now on.
    fn begin(&self, error: u32, one_in: u64, pattern: &str) {
        let new = self.control.with_extension("new");
        std::fs::write(&new, format!("{error} {one_in} {pattern}\n")).unwrap();
        std::fs::rename(new, &self.control).unwrap();
    }

    fn end(&self) {
        std::fs::remove_file(&self.control).unwrap();
    }
}

fn customers(shop: &Process, ledger: &Arc<Ledger>, seed: u64) -> Customers {
    Customers::start(&shop.web, ledger, CUSTOMERS, GIFTICONS, &seed.to_string(), seed)
}

/// Lets each file fail in turn, at first every call and then some calls, and checks after each that the shop recovers.
async fn each_file_fails_with(error: u32) {
    let _machine = MACHINE.lock().await;
    let seed = common::seed();
    let rounds = common::setting("DISK_ROUNDS").unwrap_or(1);
    let dir = tempfile::tempdir().unwrap();
    let (faults, data) = (Faults::new(dir.path()), dir.path().join("data"));
    let shop = faults.start(&data);
    let ledger = Arc::new(Ledger::default());
    stock_up(&shop.web, &ledger).await;
    let (mut slowest, mut refused) = (Duration::ZERO, 0);
    for round in 0..rounds {
        for (number, file) in (0..).zip(files()) {
            let mut dice = Dice::new(seed + round * 100 + number);
            let shoppers = customers(&shop, &ledger, seed + round * 1_000 + number * 10);
            tokio::time::sleep(Duration::from_millis(200)).await;
            // Where some calls succeed, later statements of a transaction and what follows its commit meet the fault too.
            for one_in in [1, 2 + dice.roll(6)] {
                faults.begin(error, one_in, &file);
                tokio::time::sleep(FAULT_DURATION).await;
                faults.end();
                tokio::time::sleep(Duration::from_millis(dice.roll(100))).await;
            }
            shoppers.stop().await;
            let failed = ledger.take_failed().len();
            if round == 0 && (file == "cart.db" || file == ".db") {
                assert!(failed > 0, "no request met the fault of {file}");
            }
            refused += failed;
            ledger.replay_keys(&shop.web).await;
            let took = ledger.audit(&shop.web).await;
            println!("error {error} of {file}: {failed} requests refused, settled in {took:?}");
            slowest = slowest.max(took);
        }
    }
    audit::settled(&data).await;
    assert!(shop.terminate().await.success(), "a drain ends with exit code 0");
    // A restart finds what was answered.
    let shop = faults.start(&data);
    ledger.audit(&shop.web).await;
    audit::settled(&data).await;
    println!(
        "{} carts promised, {refused} requests refused, settled within {slowest:?}",
        ledger.carts_promised()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_requests_while_it_lasts_and_nothing_after() {
    each_file_fails_with(ENOSPC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_disk_costs_requests_while_it_lasts_and_nothing_after() {
    each_file_fails_with(EIO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_costs_requests_while_it_lasts_and_nothing_after() {
    each_file_fails_with(EROFS).await;
}

/// Checks that a transaction whose commit failed is not there after kill -9, unless its request was answered with success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_disk_refused_is_not_found_by_a_restart() {
    let _machine = MACHINE.lock().await;
    let seed = common::seed();
    let dir = tempfile::tempdir().unwrap();
    let (faults, data) = (Faults::new(dir.path()), dir.path().join("data"));
    let ledger = Arc::new(Ledger::default());
    for cycle in 0..common::setting("DISK_ROUNDS").unwrap_or(1) * 4 {
        let shop = faults.start(&data);
        if cycle == 0 {
            stock_up(&shop.web, &ledger).await;
        }
        let mut dice = Dice::new(seed + cycle);
        let shoppers = customers(&shop, &ledger, seed + cycle * 10);
        let (one_in, file) = (3 + dice.roll(20), dice.pick(&files()).clone());
        faults.begin(EIO, one_in, &file);
        tokio::time::sleep(Duration::from_millis(300 + dice.roll(500))).await;
        shop.kill();
        faults.end();
        shoppers.stop().await;
        let shop = faults.start(&data);
        ledger.replay_keys(&shop.web).await;
        ledger.audit(&shop.web).await;
        audit::settled(&data).await;
        shop.kill();
    }
}

/// Checks that the process ends at once with the reason, and does not start to refuse all requests.
#[test]
fn a_disk_that_cannot_be_written_is_named_at_the_start() {
    for (error, file) in [
        (EROFS, "cart.db"),
        (EIO, "mypage.db-wal"),
        (ENOSPC, "events.db-wal"),
        (EROFS, "payment.db"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (faults, data) = (Faults::new(dir.path()), dir.path().join("data"));
        faults.begin(error, 1, file);
        let mut command = Process::command(&data);
        command.env("LD_PRELOAD", &faults.library).env("DISK_FAULT", &faults.control);
        let began = Instant::now();
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        let database = file.trim_end_matches("-wal");
        assert!(stderr.contains("DATA_DIR") && stderr.contains(database), "{stderr}");
        assert!(began.elapsed() < Duration::from_secs(10), "at once: {:?}", began.elapsed());
    }
}

/// Fills the small file system whose directory `TEST_SMALL_DISK` names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_SMALL_DISK"]
async fn a_small_file_system_that_was_full_is_caught_up_with() {
    let disk = server("TEST_SMALL_DISK");
    let _machine = MACHINE.lock().await;
    let seed = common::seed();
    let dir = tempfile::tempdir_in(disk).unwrap();
    let data = dir.path().join("data");
    let shop = Process::start(&data, &[]);
    let ledger = Arc::new(Ledger::default());
    stock_up(&shop.web, &ledger).await;
    for round in 0..3 {
        let shoppers = customers(&shop, &ledger, seed + round * 10);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let filler = dir.path().join("filler");
        fill(&filler);
        tokio::time::sleep(Duration::from_secs(2)).await;
        fill(&filler); // what a checkpoint freed
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::remove_file(&filler).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        shoppers.stop().await;
        let failed = ledger.take_failed().len();
        assert!(failed > 0, "no request met the full file system");
        ledger.replay_keys(&shop.web).await;
        let took = ledger.audit(&shop.web).await;
        audit::settled(&data).await;
        println!("full file system: {failed} requests refused, settled in {took:?}");
    }
    assert!(shop.terminate().await.success());
}

/// Writes until the file system is full.
fn fill(filler: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(filler).unwrap();
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
