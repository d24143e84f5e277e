//! How fast a backlog is worked off: an outbox by the relay, a topic by the view, each alone.

use crate::report::{Report, Row};
use crate::seed;
use crate::shop::{Ground, Shop, database_in};
use crate::workloads::total;
use anyhow::{bail, ensure};
use chassis::base::config::{Host, Listen};
use chassis::bus::EmbeddedLog;
use sqlx::{AnyConnection, Connection};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// How long a backlog may take.
const PATIENCE: Duration = Duration::from_mins(5);
const LOOK: Duration = Duration::from_millis(10);

/// Events of one row of the outbox: what is written together under load.
const TOGETHER: i64 = 50;

/// A row of the outbox, of carts that were added: those of the numbers from `n.i * TOGETHER` on.
fn added() -> String {
    let number = format!("cast(n.i * {TOGETHER} + k.j as text)");
    let uuid = format!(
        "'00000000-0000-7000-8000-' || substr(cast(1000000000000 + n.i * {TOGETHER} + k.j as text), 2)"
    );
    let payload = format!(
        "'{{\"eventType\":\"CartAdded\",\"timestamp\":\"20261124150322\",\"eventId\":\"' || {uuid} || \
         '\",\"occurredAt\":\"2026-11-24T15:03:22.886Z\",\"id\":' || {number} || \
         ',\"gifticonId\":1,\"quantity\":1,\"status\":\"CartAdded\",\"reservationId\":\"' || {uuid} || \
         '\",\"name\":\"Americano\",\"price\":5000}}'"
    );
    let event = format!(
        "'{{\"id\":\"' || {uuid} || '\",\"event_type\":\"CartAdded\",\"key\":\"' || {number} || \
         '\",\"traceparent\":null,\"payload\":' || {payload} || '}}'"
    );
    format!(
        "insert into outbox (size, created_at, events) select {TOGETHER}, 1795532602886, \
         (with recursive k(j) as (select 0 union all select j + 1 from k where j < {TOGETHER} - 1) \
          select '[' || string_agg({event}, ',') || ']' from k)"
    )
}

/// One service of the shop in this process, on the data in `dir`, until it is killed.
pub(crate) async fn stand(service: &str, dir: &Path) -> anyhow::Result<()> {
    let bus = Arc::new(EmbeddedLog::open(&dir.join("events.db")).await?);
    let database_url = database_in(dir, service).parse().map_err(anyhow::Error::msg)?;
    let listen = Listen::free();
    let host = Host { listen, database_url };
    let running = match service {
        "cart" => {
            let budget = cart::Budget { gifticon_timeout_ms: 250 };
            let gifticon_url = "http://127.0.0.1:9".into(); // it asks nobody
            cart::start(cart::CartConfig { host, budget, gifticon_url }, bus).await?
        }
        "mypage" => mypage::start(mypage::MypageConfig { host }, bus).await?,
        other => bail!("{other} does not stand alone"),
    };
    println!("{service} listens on {}", running.url());
    std::future::pending().await
}

/// Measures both on the same events.
pub(crate) async fn run(real: bool, events: i64, report: &mut Report) -> anyhow::Result<()> {
    let ground = Ground::new(real)?;
    let (url, schema) = (ground.database("cart")?, cart::store::schema());
    ensure!(events % TOGETHER == 0, "--events takes a multiple of {TOGETHER}");
    seed::rows(&url, &schema, &added(), (1, events / TOGETHER), "select 1").await?;
    // Past chassis, which opens a SQLite file for one process.
    let outbox = Mutex::new(AnyConnection::connect(url.as_str()).await?);
    let row = worked_off("cart", &ground, "relay: an outbox to the topic", events, async |_| {
        let left = sqlx::query("select 1 from outbox limit 1");
        Ok(left.fetch_optional(&mut *outbox.lock().await).await?.is_none())
    });
    report.add(row.await?, None);
    let row =
        worked_off("mypage", &ground, "catch-up: the topic into mypage", events, async |shop| {
            Ok(total(&shop.web("mypage"), "/mypages?size=1").await == events)
        });
    report.add(row.await?, None);
    Ok(())
}

async fn worked_off(
    service: &str,
    ground: &Ground,
    name: &str,
    events: i64,
    done: impl AsyncFn(&Shop) -> anyhow::Result<bool>,
) -> anyhow::Result<Row> {
    let shop = Shop::alone(service, ground).await?;
    let began = Instant::now();
    while !done(&shop).await? {
        ensure!(began.elapsed() < PATIENCE, "{name}: not done in {PATIENCE:?}");
        sleep(LOOK).await;
    }
    let took = began.elapsed();
    Ok(Row {
        name: format!("{name}, {events} events"),
        rate: events as f64 / took.as_secs_f64(),
        cpu_us: shop.cpu() * 1_000_000.0 / events as f64,
        ..Row::default()
    })
}
