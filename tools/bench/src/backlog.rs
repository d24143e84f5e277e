//! Measures how fast the relay sends a full outbox, and how fast mypage reads a full topic.

use crate::measure::total;
use crate::report::{Report, Row};
use crate::seed;
use crate::shop::Shop;
use crate::storage::{Storage, database_in};
use anyhow::{bail, ensure};
use chaos::progress::Progress;
use chassis::base::config::{ClientStreams, Host, Listen, StreamsLimit};
use chassis::bus::EmbeddedLog;
use sqlx::{AnyConnection, Connection};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// Bound for working a backlog off.
const BACKLOG_TIMEOUT: Duration = Duration::from_mins(5);
/// Interval between two checks whether it is done.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Events of one row of the outbox, as many as a batch writes under load.
const EVENTS_PER_ROW: i64 = 50;

/// Returns the statement that inserts a row of the outbox: `CartAdded` of the carts from `n.i * EVENTS_PER_ROW` on.
fn insert_outbox_row() -> String {
    let number = format!("cast(n.i * {EVENTS_PER_ROW} + k.j as text)");
    let uuid = format!(
        "'00000000-0000-7000-8000-' || substr(cast(1000000000000 + n.i * {EVENTS_PER_ROW} + k.j as text), 2)"
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
        "insert into outbox (size, created_at, events) select {EVENTS_PER_ROW}, 1795532602886, \
         (with recursive k(j) as (select 0 union all select j + 1 from k where j < {EVENTS_PER_ROW} - 1) \
          select '[' || string_agg({event}, ',') || ']' from k)"
    )
}

/// Serves one service in this process, on the data in `dir`, until it is killed.
pub(crate) async fn serve_service(service: &str, dir: &Path) -> anyhow::Result<()> {
    let bus = Arc::new(EmbeddedLog::open(&dir.join("events.db")).await?);
    let database_url = database_in(dir, service).parse().map_err(anyhow::Error::msg)?;
    let listen = Listen::free();
    let host = Host::new(listen, database_url);
    let running = match service {
        "cart" => {
            let timeout = cart::CallTimeout { gifticon_timeout_ms: 250 };
            let gifticon_url = "http://127.0.0.1:9".into(); // it makes no calls
            cart::start(cart::CartConfig { host, timeout, gifticon_url }, bus).await?
        }
        "mypage" => {
            mypage::start(
                mypage::MypageConfig {
                    host,
                    streams: StreamsLimit::default(),
                    client_streams: ClientStreams::default(),
                },
                bus,
            )
            .await?
        }
        other => bail!("no service is called {other}"),
    };
    println!("{service} listens on {}", running.url());
    std::future::pending().await
}

/// Measures both on the same events.
pub(crate) async fn run(real: bool, events: i64, report: &mut Report) -> anyhow::Result<()> {
    let storage = Storage::new(real)?;
    let (url, schema) = (storage.database("cart")?, cart::store::schema());
    ensure!(events % EVENTS_PER_ROW == 0, "--events takes a multiple of {EVENTS_PER_ROW}");
    seed::rows(&url, &schema, &insert_outbox_row(), (1, events / EVENTS_PER_ROW), "select 1")
        .await?;
    // Not by chassis, which locks a SQLite file for one process.
    let outbox = Mutex::new(AnyConnection::connect(url.as_str()).await?);
    let row = work_off("cart", &storage, "relay: an outbox to the topic", events, async |_| {
        // Rows are numbered from 1 on, and the oldest go first. It is done when none is left.
        let oldest = sqlx::query_scalar("select min(seq) from outbox");
        let oldest: Option<i64> = oldest.fetch_one(&mut *outbox.lock().await).await?;
        Ok(oldest.map_or(events, |oldest| ((oldest - 1) * EVENTS_PER_ROW).min(events - 1)))
    });
    report.add(row.await?, None);
    let row =
        work_off("mypage", &storage, "catch-up: the topic into mypage", events, async |shop| {
            Ok(total(&shop.web("mypage"), "/mypages?size=1").await)
        });
    report.add(row.await?, None);
    Ok(())
}

/// Has a service work a backlog off, of which `done` returns how many events are done.
async fn work_off(
    service: &str,
    storage: &Storage,
    name: &str,
    events: i64,
    done: impl AsyncFn(&Shop) -> anyhow::Result<i64>,
) -> anyhow::Result<Row> {
    let shop = Shop::alone(service, storage).await?;
    let total = events.cast_unsigned();
    let (began, mut progress) = (Instant::now(), Progress::counting(name, total, "events"));
    loop {
        let done = done(&shop).await?.clamp(0, events);
        progress.reached(done.cast_unsigned(), total, "events");
        if done == events {
            break;
        }
        ensure!(began.elapsed() < BACKLOG_TIMEOUT, "{name}: not done in {BACKLOG_TIMEOUT:?}");
        sleep(POLL_INTERVAL).await;
    }
    let (took, cpu) = (began.elapsed(), shop.cpu());
    drop(progress);
    Ok(Row {
        name: format!("{name}, {events} events"),
        rate: events as f64 / took.as_secs_f64(),
        cpu_us: cpu.map(|cpu| cpu * 1_000_000.0 / events as f64),
        cores: cpu.map(|cpu| cpu / took.as_secs_f64()),
        ..Row::default()
    })
}
