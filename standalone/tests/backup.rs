//! A backup under load is of one moment, and the repair of databases of different moments, as the book's page says. The SQL is
//! that of the page.

mod common;

use chaos::customers::Customers;
use chaos::ledger::Ledger;
use chassis::testing::eventually;
use common::{Shop, audit, files};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row, raw_sql};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

const STORES: [&str; 5] = ["gifticon", "cart", "payment", "mypage", "events"];

/// Returns the blocks of SQL in the page that follow the text `after`.
fn sql_after(after: &str) -> Vec<String> {
    let page = files::text("docs/operate/backup.md");
    let (_, rest) = page.split_once(after).unwrap_or_else(|| panic!("the page has {after:?}"));
    let blocks = rest.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// Returns a connection that has all files of a directory attached, by their names.
async fn attached(dir: &Path) -> AnyConnection {
    sqlx::any::install_default_drivers();
    // Beside a database in memory, sqlx has attached files in memory too.
    let main = format!("sqlite:{}?mode=rwc", dir.join("main.db").display());
    let mut connection = AnyConnection::connect(&main).await.unwrap();
    for store in STORES {
        let file = dir.join(store).with_extension("db");
        let attach = format!("attach '{}' as {store}", file.display());
        raw_sql(AssertSqlSafe(attach)).execute(&mut connection).await.unwrap();
    }
    connection
}

/// Copies the files with these endings. By a process of its own: the close of a file would release the locks of this process.
fn copy(from: &Path, into: &Path, endings: &[&str]) {
    let names =
        STORES.iter().flat_map(|store| endings.iter().map(move |end| format!("{store}.{end}")));
    let files = names.map(|name| from.join(name)).filter(|file| file.exists());
    assert!(Command::new("cp").args(files).arg(into).status().unwrap().success());
}

/// Makes a backup of a running shop, as the page says.
async fn back_up(dir: &Path) -> TempDir {
    let backup = tempfile::tempdir().unwrap();
    let mut connection = attached(dir).await;
    let begin = raw_sql("pragma busy_timeout = 10000; begin immediate");
    begin.execute(&mut connection).await.unwrap();
    copy(dir, backup.path(), &["db"]);
    copy(dir, backup.path(), &["db-wal"]);
    raw_sql("rollback").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    backup
}

/// Starts a shop on the files in `dir`, waits until it has settled, and checks what the page says.
async fn starts_and_settles(dir: &TempDir) -> Shop {
    let shop = Shop::with(|config| dir.path().clone_into(&mut config.data_dir)).await;
    audit::settled(dir.path()).await;
    let checks = sql_after("## Check").remove(0);
    for check in checks.split(";\n").filter(|check| !check.trim().is_empty()) {
        eventually(check, async || {
            let mut connection = attached(dir.path()).await;
            let row = sqlx::query(AssertSqlSafe(check.to_owned())).fetch_one(&mut connection).await;
            (row.unwrap().get::<i64, _>(0) == 0).then_some(())
        })
        .await;
    }
    shop
}

async fn last_cart(dir: &Path) -> i64 {
    let last = sqlx::query("select last_id from cart.counters");
    last.fetch_one(&mut attached(dir).await).await.unwrap().get(0)
}

/// Sells for a while, with a backup in between. Returns the backup with the number of carts that were promised before it, and
/// the files of the end.
async fn sell_and_back_up(ledger: &Arc<Ledger>) -> ((TempDir, usize), TempDir) {
    let shop = Shop::start().await;
    for gifticon_id in 1..=2 {
        shop.web.register(gifticon_id, 100_000, 5_000).await;
        ledger.register(gifticon_id, 100_000);
    }
    let customers = Customers::start(&shop.web, ledger, 8, 2, "customer", common::seed());
    let promised = async |carts| {
        eventually("carts", async || (ledger.carts_promised() > carts).then_some(())).await;
    };
    promised(200).await;
    let before = ledger.carts_promised();
    let backup = back_up(shop.dir.path()).await;
    promised(before + 200).await;
    customers.stop().await;
    audit::settled(shop.dir.path()).await;
    ((backup, before), shop.stop().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_of_one_moment() {
    let ((backup, promised), _) = sell_and_back_up(&Arc::default()).await;
    let shop = starts_and_settles(&backup).await;
    let carts = last_cart(backup.path()).await;
    assert!(
        carts >= i64::try_from(promised).unwrap(),
        "{promised} were promised, {carts} are there"
    );
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_older_than_the_others_is_repaired_as_the_page_says() {
    let ledger = Arc::default();
    let ((backup, _), last) = sell_and_back_up(&ledger).await;
    let repair: Vec<String> = sql_after("## Different moments").into_iter().take(4).collect();
    let [carts, payments, stock, views] = &repair[..] else { panic!("the page has four repairs") };
    for (older, repairs) in [
        ("gifticon", vec![stock]),
        ("cart", vec![carts, stock]),
        ("payment", vec![payments]),
        ("mypage", vec![views]),
        ("none", vec![carts, payments, stock, views]),
    ] {
        println!("{older} is older");
        let dir = tempfile::tempdir().unwrap();
        copy(last.path(), dir.path(), &["db", "db-wal"]);
        if older != "none" {
            for end in ["db", "db-wal"] {
                let name = format!("{older}.{end}");
                std::fs::copy(backup.path().join(&name), dir.path().join(&name)).unwrap();
            }
        }
        let mut connection = attached(dir.path()).await;
        for repair in repairs {
            raw_sql(AssertSqlSafe(repair.clone())).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        let shop = starts_and_settles(&dir).await;
        assert_eq!(last_cart(dir.path()).await, last_cart(last.path()).await);
        if older != "cart" {
            ledger.audit(&shop.web).await; // that of cart forgot keys, which the audit repeats
        }
        shop.stop().await;
    }
}
