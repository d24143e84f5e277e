//! Three times what the shop can do: it must go on doing what it can, and refuse the rest when the customer's patience is over.

use super::{Row, row};
use anyhow::{Context, ensure};
use chaos::Web;
use chaos::shop::Shop;
use reqwest::{Method, StatusCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How long each part of the run takes.
const PART: Duration = Duration::from_secs(10);
/// Customers at once, who wait for their answers, while the capacity is measured.
const WAITING: usize = 200;
/// How many times the capacity is offered.
const TIMES: u64 = 3;
/// How often requests are sent in bulk.
const TICK: Duration = Duration::from_millis(5);
/// Requests that wait for an answer at most. Each is a connection of two files here, and a process may have 20,000. Who is
/// due beyond that is sent when another is back.
const OPEN: usize = 4_096;
/// Goodput that must stay, in percent of the peak, for each core that the customers and the front leave.
const LEAST: f64 = 80.0;
/// Times in seconds that a request waited at the gateway, by the buckets of its metric: 10, 100 and 250 ms beyond the
/// customer's patience.
const WAITED: [&str; 3] = ["1.01", "1.1", "1.25"];
/// The refused that may wait for longer than the last of them, in percent. The goal is 10 ms; where the customers, two gateways and
/// eight services share two cores that are all taken, a process gets its turn later than that.
const LATE_MAX: f64 = 5.0;

/// What came of the requests of one part.
#[derive(Default)]
struct Outcomes {
    good: AtomicU64,
    /// How long it took to be refused with 503 and `Retry-After`.
    refused: Mutex<Vec<Duration>>,
    /// Anything else.
    strange: Mutex<Vec<String>>,
}

impl Outcomes {
    async fn add(&self, gateway: &Web) {
        let asked = Instant::now();
        let body = serde_json::json!({ "gifticonId": 1, "quantity": 1 });
        let answer =
            gateway.client.post(format!("{}/carts", gateway.base)).json(&body).send().await;
        let (status, retry) = match &answer {
            Ok(answer) => (answer.status(), answer.headers().contains_key("retry-after")),
            Err(error) => return lock(&self.strange).push(format!("{error:?}")),
        };
        match status {
            StatusCode::CREATED => drop(self.good.fetch_add(1, Ordering::Relaxed)),
            StatusCode::SERVICE_UNAVAILABLE if retry => lock(&self.refused).push(asked.elapsed()),
            other => lock(&self.strange).push(other.to_string()),
        }
    }

    /// Good answers a second.
    fn rate(&self) -> u64 {
        self.good.load(Ordering::Relaxed) / PART.as_secs()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures the capacity, offers a multiple of it, and looks at health meanwhile.
pub(crate) async fn run(shop: &mut Shop) -> anyhow::Result<Vec<Row>> {
    // Past the front, which is one thread: calls between services go through it too.
    let gateways = shop.cluster.webs("gateway");
    closed_loop(&gateways).await; // warm
    let before = cores_taken();
    let peak = closed_loop(&gateways).await.rate();
    let taken = cores_taken() - before;
    ensure!(peak > 0, "the shop sells nothing");
    let management = shop.cluster.management("gateway");
    let late_before = waited_late(&management).await?;
    let before = cores_taken();
    let ((over, sent), slowest) = tokio::join!(open_loop(&gateways, peak * TIMES), health(shop));
    let slowest = slowest?;
    let taken_then = cores_taken() - before;
    let strange = std::mem::take(&mut *lock(&over.strange));
    ensure!(strange.is_empty(), "{} strange answers, first {}", strange.len(), strange[0]);
    let number = |number: u64| u32::try_from(number).map(f64::from);
    let cores = number(std::thread::available_parallelism()?.get().try_into()?)?;
    let (left, left_then) = (cores - taken, (cores - taken_then).max(0.1));
    let share = 100.0 * (number(over.rate())? / left_then) / (number(peak)? / left);
    let what = format!("{}/s of a peak of {peak}/s stayed", over.rate());
    ensure!(share >= LEAST, "{what}: {share:.0} % for each core that the customers left");
    let mut refused = std::mem::take(&mut *lock(&over.refused));
    refused.sort();
    let all = number(refused.len().max(1).try_into()?)?;
    let late_after = waited_late(&management).await?;
    let late =
        [0, 1, 2].map(|bound| 100.0 * (late_after[bound] - late_before[bound]).max(0.0) / all);
    ensure!(late[2] <= LATE_MAX, "of the refused {late:.1?} % waited for more than {WAITED:?} s");
    let at =
        |share: usize| refused.get((refused.len() * share / 100).min(refused.len().max(1) - 1));
    let at = |share| at(share).map_or("none".to_owned(), |time| format!("{time:.1?}"));
    let settled = shop.settles().await?;
    Ok(vec![
        row("carts a second, 200 customers who wait", &peak),
        row("carts a second offered then", &(sent / PART.as_secs())),
        row("of them made", &over.rate()),
        row("cores that customers and front took, at the peak", &format!("{taken:.2}")),
        row("and then", &format!("{taken_then:.2}")),
        row("made for each core that was left, in percent of the peak", &format!("{share:.0}")),
        row("refused with 503 and Retry-After", &refused.len()),
        row("of them 10, 100, 250 ms later than the patience, percent", &format!("{late:.1?}")),
        row("time to refuse, median", &at(50)),
        row("time to refuse, 99th of 100", &at(99)),
        row("slowest answer of health", &format!("{slowest:.1?}")),
        row("settled after", &format!("{settled:.1?}")),
    ])
}

/// Requests that waited at the gateways for longer than each of [`WAITED`], since they started.
async fn waited_late(gateways: &[Web]) -> anyhow::Result<[f64; 3]> {
    let mut late = [0.0; 3];
    for gateway in gateways {
        let metrics = gateway.client.get(format!("{}/metrics", gateway.base)).send().await?;
        let metrics = metrics.text().await?;
        let bucket = |le: &str| {
            let name = format!("http_queue_seconds_bucket{{le=\"{le}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
            value.and_then(|value| value.parse::<f64>().ok()).context("the gateway counts waits")
        };
        for (late, bound) in late.iter_mut().zip(WAITED) {
            *late += bucket("+Inf")? - bucket(bound)?;
        }
    }
    Ok(late)
}

/// The cores that this process, the customers and the front, has taken so far, as if all were in one [`PART`].
fn cores_taken() -> f64 {
    chaos::cpu(std::process::id()).as_secs_f64() / PART.as_secs_f64()
}

/// Customers who wait for their answers.
async fn closed_loop(gateways: &[Web]) -> Outcomes {
    let (outcomes, until) = (Arc::new(Outcomes::default()), Instant::now() + PART);
    let mut customers = JoinSet::new();
    for gateway in gateways.iter().cycle().take(WAITING) {
        let (outcomes, gateway) = (Arc::clone(&outcomes), gateway.clone());
        customers.spawn(async move {
            while Instant::now() < until {
                outcomes.add(&gateway).await;
            }
        });
    }
    customers.join_all().await;
    Arc::into_inner(outcomes).expect("all customers are gone")
}

/// Customers who come at a rate, whatever becomes of those before them, and how many came.
async fn open_loop(gateways: &[Web], rate: u64) -> (Outcomes, u64) {
    let (outcomes, began) = (Arc::new(Outcomes::default()), Instant::now());
    let (mut customers, mut sent) = (JoinSet::new(), 0_u64);
    let mut turns = gateways.iter().cycle();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while began.elapsed() < PART {
        ticks.tick().await;
        let due = u128::from(rate) * began.elapsed().as_micros() / 1_000_000;
        while u128::from(sent) < due && customers.len() < OPEN {
            let Some(gateway) = turns.next().cloned() else { break };
            let outcomes = Arc::clone(&outcomes);
            customers.spawn(async move { outcomes.add(&gateway).await });
            sent += 1;
        }
        while customers.try_join_next().is_some() {}
    }
    customers.join_all().await;
    (Arc::into_inner(outcomes).expect("all customers are gone"), sent)
}

/// Asks every process whether it is alive and ready, and answers how long the slowest answer took.
async fn health(shop: &Shop) -> anyhow::Result<Duration> {
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < PART {
        for service in chaos::cluster::ALL {
            for web in shop.cluster.webs(service) {
                for path in ["/actuator/health/liveness", "/actuator/health/readiness"] {
                    let asked = Instant::now();
                    let (status, _) = web.ask(Method::GET, path, None).await?;
                    ensure!(status == StatusCode::OK, "{service} says {status} at {path}");
                    slowest = slowest.max(asked.elapsed());
                }
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(slowest)
}
