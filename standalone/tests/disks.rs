//! Disks that are full, read-only or broken, under load, at any statement: requests are refused while it lasts, and
//! everything goes on by itself when it is over (G10).

mod common;

use chaos::customers;
use chaos::ledger::Ledger;
use common::process::Process;
use common::{Dice, inside};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const CUSTOMERS: u64 = 8;
/// How long a fault lasts.
const LASTS: Duration = Duration::from_millis(500);
/// One shop at a time: each keeps a small machine busy, and has 10 s to catch up.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Errors of the system, by their numbers on Linux.
const EIO: u32 = 5;
const ENOSPC: u32 = 28;
const EROFS: u32 = 30;

/// Every file that the process writes, with its WAL, its WAL index and its lock; and all at once.
const FILES: [&str; 6] = ["gifticon.db", "cart.db", "payment.db", "mypage.db", "events.db", ".db"];

/// Faults of files, by a library that is loaded into the shop.
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

    /// One in `one_in` calls on files with `pattern` in their path fails from now on.
    fn begin(&self, error: u32, one_in: u64, pattern: &str) {
        let new = self.control.with_extension("new");
        std::fs::write(&new, format!("{error} {one_in} {pattern}\n")).unwrap();
        std::fs::rename(new, &self.control).unwrap();
    }

    fn end(&self) {
        std::fs::remove_file(&self.control).unwrap();
    }
}

/// Customers who shop until they are told to go.
struct Crowd {
    over: CancellationToken,
    tasks: JoinSet<()>,
}

impl Crowd {
    fn comes(shop: &Process, ledger: &Arc<Ledger>, seed: u64) -> Self {
        let (over, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for customer in 0..CUSTOMERS {
            let (web, ledger) = (shop.web.clone(), Arc::clone(ledger));
            let (dice, name) = (Dice::new(seed + customer), format!("{seed}-{customer}"));
            tasks.spawn(customers::shop(web, ledger, dice, name, 3, over.clone()));
        }
        Self { over, tasks }
    }

    async fn goes(self) {
        self.over.cancel();
        self.tasks.join_all().await;
    }
}

async fn stock_up(shop: &Process, ledger: &Ledger) {
    for (gifticon_id, units) in [(1, 1_000_000), (2, 300), (3, 1_000_000)] {
        shop.web.register(gifticon_id, units, 5000).await;
        ledger.put(gifticon_id, units);
    }
}

/// Has each file fail in turn, wholly and now and then, and audits after each that all goes on.
async fn each_file_fails_with(error: u32) {
    let _one = ONE_AT_A_TIME.lock().await;
    let seed = common::seed();
    let rounds = common::setting("DISK_ROUNDS").unwrap_or(1);
    let dir = tempfile::tempdir().unwrap();
    let (faults, data) = (Faults::new(dir.path()), dir.path().join("data"));
    let shop = faults.start(&data);
    let ledger = Arc::new(Ledger::default());
    stock_up(&shop, &ledger).await;
    let (mut slowest, mut refused) = (Duration::ZERO, 0);
    for round in 0..rounds {
        for (number, file) in (0..).zip(FILES) {
            let mut dice = Dice::new(seed + round * 100 + number);
            let crowd = Crowd::comes(&shop, &ledger, seed + round * 1_000 + number * 10);
            tokio::time::sleep(Duration::from_millis(200)).await;
            // Where some calls succeed, later statements of a transaction, and what comes after its commit, are met.
            for one_in in [1, 2 + dice.roll(6)] {
                faults.begin(error, one_in, file);
                tokio::time::sleep(LASTS).await;
                faults.end();
                tokio::time::sleep(Duration::from_millis(dice.roll(100))).await;
            }
            crowd.goes().await;
            let failed = ledger.failed().len();
            if round == 0 && (file == "cart.db" || file == ".db") {
                assert!(failed > 0, "the fault of {file} was never met");
            }
            refused += failed;
            ledger.ask_again(&shop.web).await;
            let took = ledger.audit(&shop.web).await;
            println!("error {error} of {file}: {failed} requests refused, settled in {took:?}");
            slowest = slowest.max(took);
        }
    }
    inside::settled(&data).await;
    assert!(shop.terminate().await.success(), "a drain ends with exit code 0");
    // What a restart finds is what was answered.
    let shop = faults.start(&data);
    ledger.audit(&shop.web).await;
    inside::settled(&data).await;
    println!(
        "{} carts promised, {refused} requests refused, settled within {slowest:?}",
        ledger.promised()
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

/// A transaction whose commit failed is not there after a kill -9 either, unless it was told as done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_disk_refused_is_not_found_by_a_restart() {
    let _one = ONE_AT_A_TIME.lock().await;
    let seed = common::seed();
    let dir = tempfile::tempdir().unwrap();
    let (faults, data) = (Faults::new(dir.path()), dir.path().join("data"));
    let ledger = Arc::new(Ledger::default());
    for cycle in 0..common::setting("DISK_ROUNDS").unwrap_or(1) * 4 {
        let shop = faults.start(&data);
        if cycle == 0 {
            stock_up(&shop, &ledger).await;
        }
        let mut dice = Dice::new(seed + cycle);
        let crowd = Crowd::comes(&shop, &ledger, seed + cycle * 10);
        let (one_in, file) = (3 + dice.roll(20), *dice.pick::<&str>(&FILES));
        faults.begin(EIO, one_in, file);
        tokio::time::sleep(Duration::from_millis(300 + dice.roll(500))).await;
        shop.kill();
        faults.end();
        crowd.goes().await;
        let shop = faults.start(&data);
        ledger.ask_again(&shop.web).await;
        ledger.audit(&shop.web).await;
        inside::settled(&data).await;
        shop.kill();
    }
}

/// It says why at once, rather than to start and to refuse all.
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
        command.arg("--data-dir").arg(&data).env("RUST_LOG", "off");
        command.env("LD_PRELOAD", &faults.library).env("DISK_FAULT", &faults.control);
        for name in ["gifticon", "cart", "payment", "mypage", "gateway"] {
            command.arg(format!("--{name}-addr=127.0.0.1:0"));
        }
        let began = Instant::now();
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        let database = file.trim_end_matches("-wal");
        assert!(said.contains("DATA_DIR") && said.contains(database), "{said}");
        assert!(began.elapsed() < Duration::from_secs(10), "at once: {:?}", began.elapsed());
    }
}

/// On a real file system that is small: its directory is in `TEST_SMALL_DISK`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_system_that_was_full_is_caught_up_with() {
    #[expect(clippy::disallowed_methods, reason = "the gate mounts it")]
    let Ok(disk) = std::env::var("TEST_SMALL_DISK") else {
        eprintln!("skipped: TEST_SMALL_DISK is unset");
        return;
    };
    let _one = ONE_AT_A_TIME.lock().await;
    let seed = common::seed();
    let dir = tempfile::tempdir_in(disk).unwrap();
    let data = dir.path().join("data");
    let shop = Process::start(&data, &[]);
    let ledger = Arc::new(Ledger::default());
    stock_up(&shop, &ledger).await;
    for round in 0..3 {
        let crowd = Crowd::comes(&shop, &ledger, seed + round * 10);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let filler = dir.path().join("filler");
        fill(&filler);
        tokio::time::sleep(Duration::from_secs(2)).await;
        fill(&filler); // what a checkpoint freed
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::remove_file(&filler).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        crowd.goes().await;
        let failed = ledger.failed().len();
        assert!(failed > 0, "nothing was refused: the file system was never full");
        ledger.ask_again(&shop.web).await;
        let took = ledger.audit(&shop.web).await;
        inside::settled(&data).await;
        println!("full file system: {failed} requests refused, settled in {took:?}");
    }
    assert!(shop.terminate().await.success());
}

/// Writes until there is no room for a byte.
fn fill(filler: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(filler).unwrap();
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
