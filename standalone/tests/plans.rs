//! No statement of the shop scans a table that grows, so a sale costs the same after ten million others. The test explains
//! every statement that the shop sends, on each database.

mod common;
#[path = "plans/owners.rs"]
mod owners;

use chaos::{ShopClient, story};
use chassis::bus::EmbeddedLog;
use chassis::testing::{TestDb, eventually};
use gateway::services::{SERVICES, names, processes};
use reqwest::Method;
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row, query, raw_sql};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, filter::LevelFilter, util::SubscriberInitExt};

/// Tables that get a row with every sale. The others stay small.
const GROW: [&str; 7] =
    ["carts", "idempotency_keys", "reservations", "payments", "views", "inbox", "batches"];

/// The statements that sqlx logs.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<BTreeSet<String>>>);

/// The statements of both tests. Each test explains those that its databases understand.
static SENT: LazyLock<Statements> = LazyLock::new(|| {
    let sent = Statements::default();
    let queries = LevelFilter::DEBUG;
    tracing_subscriber::registry().with(sent.clone().with_filter(queries)).init();
    sent
});

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        #[derive(Default)]
        struct Sql {
            summary: String,
            statement: String,
        }
        impl Visit for Sql {
            fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
            fn record_str(&mut self, field: &Field, value: &str) {
                match field.name() {
                    "summary" => value.clone_into(&mut self.summary),
                    "db.statement" => value.clone_into(&mut self.statement),
                    _ => {}
                }
            }
        }
        if event.metadata().target() == "sqlx::query" {
            let mut sql = Sql::default();
            event.record(&mut sql);
            let text = if sql.statement.is_empty() { sql.summary } else { sql.statement };
            self.0.lock().unwrap().extend(parts(&text));
        }
    }
}

/// Returns the statements of a text; SQLite accepts several in one.
fn parts(text: &str) -> impl Iterator<Item = String> + '_ {
    let is_work = |part: &str| {
        ["select", "insert", "update", "delete"].iter().any(|word| part.starts_with(word))
    };
    text.split(";\n").map(str::trim).filter(move |part| is_work(part)).map(str::to_owned)
}

/// Starts the shop on the given databases, by service.
async fn start(databases: &BTreeMap<&str, TestDb>, log: &EmbeddedLog) -> standalone::Shop {
    let config = common::config(Path::new("no file is made there"), None);
    let database = |name: &str| Ok(databases[name].url.clone());
    standalone::start_on(config, Arc::new(log.clone()), database).await.unwrap()
}

/// Makes the shop send its statements: by the story, and by requests that the story lacks.
async fn send_statements(web: &ShopClient) {
    story::play(web).await;
    web.add(1, 1, Some("plans")).await.unwrap();
    web.add(1, 1, Some("plans")).await.unwrap();
    for path in [
        "/gifticons/1",
        "/gifticons/search/findByGifticonId?gifticonId=1",
        "/carts/2",
        "/payments/1",
        "/payments/search/findByCartId?cartId=1",
        "/mypages/1",
        "/mypages/1/history",
        "/mypages/search/findByCartId?cartId=1",
    ] {
        web.get(path).await;
    }
    for collection in SERVICES.map(|service| service.collection()) {
        for page in [
            "",
            "?size=1",
            "?page=1&size=1",
            "?after=1&size=1",
            "?before=2&size=1",
            "?sort=id,desc&size=1",
            "?sort=id,desc&after=2&size=1",
        ] {
            web.get(&format!("/{collection}{page}")).await;
        }
    }
    for collection in ["payments", "mypages"] {
        for page in ["", "&page=1", "&after=1", "&before=2"] {
            web.get(&format!("/{collection}?size=1&sort=cartId{page}")).await;
        }
    }
    web.ask(Method::PATCH, "/gifticons/1", Some(json!({ "restock": 5 }))).await.unwrap();
    web.register(2, 1, 1).await;
    web.ask(Method::DELETE, "/gifticons/2", None).await.unwrap();
}

/// Returns the plan of a statement; `None` if the database does not have its tables.
async fn plan(database: &mut AnyConnection, sql: &str) -> Option<String> {
    let mut lines = String::new();
    if database.backend_name() == "SQLite" {
        let explain = AssertSqlSafe(format!("explain query plan {sql}"));
        for row in query(explain).fetch_all(database).await.ok()? {
            let _ = writeln!(lines, "{}", row.get::<String, _>(3));
        }
        return Some(lines);
    }
    let places = (1..=20).take_while(|place| sql.contains(&format!("${place}"))).count();
    let values = vec!["null"; places].join(", ");
    let values = if places == 0 { String::new() } else { format!("({values})") };
    raw_sql(AssertSqlSafe(format!("prepare it as {sql}"))).execute(&mut *database).await.ok()?;
    let explain = AssertSqlSafe(format!("explain execute it{values}"));
    for row in raw_sql(explain).fetch_all(&mut *database).await.unwrap() {
        let _ = writeln!(lines, "{}", row.get::<String, _>(0));
    }
    raw_sql("deallocate it").execute(database).await.unwrap();
    Some(lines)
}

/// Returns the table that a plan scans, if it scans one.
///
/// Reading in the order of an index up to a limit is not a scan. Sorting before the limit is.
fn scanned(sql: &str, plan: &str) -> Option<&'static str> {
    let lines: Vec<&str> = plan.lines().map(str::trim).collect();
    let sorts = |line: &&str| line.contains("TEMP B-TREE FOR ORDER BY") || line.contains("Sort  (");
    let sorted = lines.iter().any(sorts);
    let ends = sql.contains(" limit ") && !sorted;
    GROW.into_iter().find(|table| {
        lines.iter().enumerate().any(|(place, line)| {
            let of = |kind: &str| {
                line.contains(&format!("{kind}{table} "))
                    || line.ends_with(&format!("{kind}{table}"))
            };
            let has_condition =
                lines.get(place + 1).is_some_and(|next| next.starts_with("Index Cond"));
            let by_index =
                (line.contains("Index Scan") || line.contains("Index Only Scan")) && of(" on ");
            of("SCAN ") && !ends || of("Seq Scan on ") || by_index && !has_condition && !ends
        })
    })
}

/// Returns a client of the shop's gateway once all of its parts are ready.
async fn when_ready(shop: &standalone::Shop) -> ShopClient {
    let urls = shop.urls();
    for name in processes() {
        let web = ShopClient::new(urls[name].clone());
        eventually("it to be ready", async || web.is_ready().await.then_some(())).await;
    }
    ShopClient::new(urls["gateway"].clone())
}

async fn stop(shop: standalone::Shop, log: &EmbeddedLog) {
    for service in shop.into_parts().0 {
        service.stop(std::time::Duration::from_secs(10)).await;
    }
    log.close().await;
}

async fn no_statement_reads_a_table_that_grows(databases: BTreeMap<&str, TestDb>) {
    let sent = &*SENT;
    let dir: TempDir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.db");
    let log = EmbeddedLog::open(&file).await.unwrap();
    let shop = start(&databases, &log).await;
    send_statements(&when_ready(&shop).await).await;
    // The gauges and the sweeper send theirs every second or half second.
    let gauges = |sql: &String| sql.contains("from outbox") || sql.contains("from intents");
    eventually("the gauges", async || sent.0.lock().unwrap().iter().any(gauges).then_some(()))
        .await;
    stop(shop, &log).await;
    owners::send_statements(&databases).await; // a SQLite file has one process

    let mut connections = Vec::new();
    for url in databases
        .values()
        .map(|database| database.url.as_str().to_owned())
        .chain([format!("sqlite:{}", file.display())])
    {
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        if connection.backend_name() != "SQLite" {
            let settings = "set enable_seqscan = off; set plan_cache_mode = force_generic_plan";
            raw_sql(settings).execute(&mut connection).await.unwrap();
        }
        connections.push(connection);
    }
    let statements = sent.0.lock().unwrap().clone();
    let (mut explained, mut scans) = (BTreeSet::new(), Vec::new());
    for sql in &statements {
        for connection in &mut connections {
            if let Some(plan) = plan(connection, sql).await {
                explained.extend(GROW.into_iter().filter(|table| sql.contains(table)));
                let found = scanned(sql, &plan);
                scans.extend(found.map(|table| format!("all of {table}: {sql}\n{plan}")));
            }
        }
    }
    assert_eq!(
        explained,
        GROW.into_iter().collect(),
        "a statement of each table that grows was explained"
    );
    assert!(scans.is_empty(), "{}", scans.join("\n"));
}

#[tokio::test]
async fn no_statement_reads_a_table_that_grows_on_sqlite() {
    no_statement_reads_a_table_that_grows(names().map(|name| (name, TestDb::sqlite())).into())
        .await;
}

/// Returns a database on Postgres for each service.
async fn postgres_databases() -> BTreeMap<&'static str, TestDb> {
    let mut databases = BTreeMap::new();
    for name in names() {
        databases.insert(name, TestDb::postgres().await);
    }
    databases
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn no_statement_reads_a_table_that_grows_on_postgres() {
    no_statement_reads_a_table_that_grows(postgres_databases().await).await;
}

/// An update that writes no index (HOT) costs the same whatever the size of the indexes. A payment is not among these tables: its
/// decision gives it an id, which has an index.
#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn updates_on_postgres_write_no_index() {
    const CARTS: usize = 300;
    let databases = postgres_databases().await;
    let dir: TempDir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(&dir.path().join("events.db")).await.unwrap();
    let shop = start(&databases, &log).await;
    let web = when_ready(&shop).await;
    web.register(1, 10_000, 1).await;
    for _ in 0..CARTS {
        web.add(1, 1, None).await.unwrap();
    }
    eventually("the payments", async || {
        let paid = async |path: String| web.get(&path).await["status"] == "PaymentApproved";
        let pages = web.get("/mypages").await["page"]["totalElements"] == CARTS;
        let last = format!("/mypages/search/findByCartId?cartId={CARTS}");
        (pages && paid(last).await && paid(format!("/carts/{CARTS}")).await).then_some(())
    })
    .await;
    stop(shop, &log).await; // a connection reports its updates when it is closed
    for (service, table) in [
        ("gifticon", "gifticons"),
        ("payment", "counters"),
        ("cart", "carts"),
        ("cart", "counters"),
        ("cart", "batches"),
        ("payment", "batches"),
        ("mypage", "views"),
    ] {
        let mut connection = AnyConnection::connect(databases[service].url.as_str()).await.unwrap();
        let select = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = $1";
        let row = query(select).bind(table).fetch_one(&mut connection).await.unwrap();
        let (updates, hot): (i64, i64) = (row.get(0), row.get(1));
        println!("{service}.{table}: {hot} of {updates}");
        assert!(updates > 10 && hot * 10 >= updates * 9, "{hot} of {updates} in {table}");
    }
}

#[test]
fn scans_and_searches_are_told_apart() {
    let scans = |sql: &str, plan: &str| scanned(sql, plan).is_some();
    assert!(scans("select * from carts", "SCAN carts"));
    assert!(scans(
        "select * from carts order by name limit 3",
        "SCAN carts\nUSE TEMP B-TREE FOR ORDER BY"
    ));
    assert!(!scans("select * from carts order by id limit 3", "SCAN carts"));
    assert!(!scans(
        "select * from carts where id = 1",
        "SEARCH carts USING INTEGER PRIMARY KEY (rowid=?)"
    ));
    assert!(scans("delete from inbox", "Delete on inbox\n  ->  Seq Scan on inbox  (cost=1)"));
    assert!(scans(
        "select count(*) from views",
        "->  Index Only Scan using views_pkey on views  (cost=1)"
    ));
    assert!(!scans(
        "select 1 from views",
        "->  Index Scan using k on views  (cost=1)\n   Index Cond: (id = 1)"
    ));
}
