//! Offers three times the capacity. The shop must keep its goodput, and refuse the rest when the patience of a request is over.

use super::{Row, row};
use anyhow::{Context, ensure};
use chaos::ShopClient;
use chaos::progress::during;
use chaos::shop::Shop;
use reqwest::{Method, StatusCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Rounds, each of which measures the capacity and then the overload. Medians of them are judged: on a shared machine the
/// two halves of one round may have met different neighbours.
const ROUNDS: usize = 3;
/// Duration of each half of a round.
const PHASE_DURATION: Duration = Duration::from_secs(6);
/// Customers of the closed loop that measures the capacity.
const WAITING_CUSTOMERS: usize = 200;
/// Offered rate, as a multiple of the capacity.
const OVERLOAD_FACTOR: u64 = 3;
/// Interval at which the requests that are due are sent.
const SEND_INTERVAL: Duration = Duration::from_millis(5);
/// Bound for requests that wait for an answer. Each takes two file descriptors here, of 20,000 that a process may have. Further
/// requests are sent when others are answered.
const OPEN_REQUESTS_MAX: usize = 4_096;
/// Goodput under overload, in percent of the peak, for each core that the customers and the proxies leave.
const GOODPUT_PERCENT_MIN: f64 = 80.0;
/// Buckets of the gateway's metric of waits, in seconds: 10, 100 and 250 ms more than the patience.
const WAIT_BUCKETS: [&str; 3] = ["1.01", "1.1", "1.25"];
/// Bound for the refusals later than the last bucket, in percent. The goal is 10 ms. Where customers, two gateways and eight
/// services share two busy cores, a process is scheduled later than that.
const LATE_PERCENT_MAX: f64 = 5.0;

/// Outcomes of the requests of one phase.
#[derive(Default)]
struct Outcomes {
    good: AtomicU64,
    /// How long each refusal with 503 and `Retry-After` took.
    refused: Mutex<Vec<Duration>>,
    /// All other outcomes.
    unexpected: Mutex<Vec<String>>,
}

impl Outcomes {
    async fn add(&self, gateway: &ShopClient) {
        let asked = Instant::now();
        let body = serde_json::json!({ "gifticonId": 1, "quantity": 1 });
        let request = gateway.request(Method::POST, &format!("{}/carts", gateway.base));
        let answer = request.json(&body).send().await;
        let (status, retry) = match &answer {
            Ok(answer) => (answer.status(), answer.headers().contains_key("retry-after")),
            Err(error) => return lock(&self.unexpected).push(format!("{error:?}")),
        };
        match status {
            StatusCode::CREATED => drop(self.good.fetch_add(1, Ordering::Relaxed)),
            StatusCode::SERVICE_UNAVAILABLE if retry => lock(&self.refused).push(asked.elapsed()),
            other => lock(&self.unexpected).push(other.to_string()),
        }
    }

    /// Returns the good answers a second.
    fn rate(&self) -> u64 {
        self.good.load(Ordering::Relaxed) / PHASE_DURATION.as_secs()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one round measured.
struct Round {
    /// Carts a second: at the peak, and made under overload.
    peak: u64,
    made: u64,
    /// Requests a second that were sent under overload.
    offered: u64,
    /// Cores that the customers and the proxies took: at the peak, and under overload.
    taken: f64,
    taken_then: f64,
    /// Goodput under overload in percent of the peak, for each core that was left.
    share: f64,
    /// How long each refusal took.
    refused: Vec<Duration>,
    /// Refusals later than each of [`WAIT_BUCKETS`], in percent.
    late: [f64; 3],
    /// The slowest answer of health.
    slowest: Duration,
}

/// Measures the capacity, offers a multiple of it, and probes health meanwhile; several times.
pub(crate) async fn run(shop: &mut Shop) -> anyhow::Result<Vec<Row>> {
    // Past the proxy of the gateway: all proxies share one thread, which also carries the calls between services.
    let gateways = shop.cluster.clients("gateway");
    let turns = gateways.iter().cycle().zip(0..).take(WAITING_CUSTOMERS);
    let gateways: Vec<_> = turns.map(|(web, turn)| web.by(shop.people.customer(turn))).collect();
    during("warming up", Some(PHASE_DURATION), closed_loop(&gateways)).await;
    let mut rounds = Vec::new();
    let mut settled = Duration::ZERO;
    for number in 1..=ROUNDS {
        let part = format!("overload, round {number} of {ROUNDS}");
        // It measures the capacity first.
        let round = during(part, Some(2 * PHASE_DURATION), round(shop, &gateways)).await?;
        rounds.push(round);
        settled = settled.max(shop.settle().await?);
    }

    let share = median(rounds.iter().map(|round| round.share).collect());
    let all_of = |figure: &dyn Fn(&Round) -> String| {
        rounds.iter().map(figure).collect::<Vec<_>>().join(", ")
    };
    let rates = all_of(&|round| format!("{} of {}", round.made, round.peak));
    ensure!(
        share >= GOODPUT_PERCENT_MIN,
        "{share:.0} % of the peak stayed for each core that the customers left; carts a second in each round: {rates}"
    );
    let late =
        [0, 1, 2].map(|bound| median(rounds.iter().map(|round| round.late[bound]).collect()));
    ensure!(
        late[2] <= LATE_PERCENT_MAX,
        "of the refused {late:.1?} % waited for more than {WAIT_BUCKETS:?} s"
    );
    let mut refused: Vec<Duration> =
        rounds.iter().flat_map(|round| round.refused.clone()).collect();
    refused.sort();
    let at = |share: usize| refused.get(refused.len() * share / 100);
    let at = |share| at(share).map_or("none".to_owned(), |time| format!("{time:.1?}"));
    let slowest = rounds.iter().map(|round| round.slowest).max().unwrap_or_default();
    let taken = all_of(&|round| format!("{:.2} and {:.2}", round.taken, round.taken_then));
    Ok(vec![
        row("carts a second, 200 customers who wait", &all_of(&|round| round.peak.to_string())),
        row("offered under overload", &all_of(&|round| round.offered.to_string())),
        row("of them made", &all_of(&|round| round.made.to_string())),
        row("cores that customers and proxies took, at the peak and under overload", &taken),
        row(
            "goodput for each core that was left, in percent of the peak",
            &all_of(&|round| format!("{:.0}", round.share)),
        ),
        row("refused with 503 and Retry-After", &refused.len()),
        row("of them 10, 100, 250 ms later than the patience, percent", &format!("{late:.1?}")),
        row("time to refuse, median", &at(50)),
        row("time to refuse, 99th of 100", &at(99)),
        row("slowest answer of health", &format!("{slowest:.1?}")),
        row("settled after", &format!("{settled:.1?}")),
    ])
}

/// Measures the capacity, and then the overload.
async fn round(shop: &Shop, gateways: &[ShopClient]) -> anyhow::Result<Round> {
    let before = cores_taken();
    let peak = closed_loop(gateways).await.rate();
    let taken = cores_taken() - before;
    ensure!(peak > 0, "no cart was added");
    let management = shop.cluster.management_clients("gateway");
    let late_before = waited_late(&management).await?;
    let before = cores_taken();
    let ((over, sent), slowest) =
        tokio::join!(open_loop(gateways, peak * OVERLOAD_FACTOR), health(shop));
    let slowest = slowest?;
    let taken_then = cores_taken() - before;
    let unexpected = std::mem::take(&mut *lock(&over.unexpected));
    ensure!(
        unexpected.is_empty(),
        "{} unexpected answers, first {}",
        unexpected.len(),
        unexpected[0]
    );
    let number = |number: u64| u32::try_from(number).map(f64::from);
    let cores = number(std::thread::available_parallelism()?.get().try_into()?)?;
    let (left, left_then) = (cores - taken, (cores - taken_then).max(0.1));
    let share = 100.0 * (number(over.rate())? / left_then) / (number(peak)? / left);
    let refused = std::mem::take(&mut *lock(&over.refused));
    let all = number(refused.len().max(1).try_into()?)?;
    let late_after = waited_late(&management).await?;
    let late =
        [0, 1, 2].map(|bound| 100.0 * (late_after[bound] - late_before[bound]).max(0.0) / all);
    let (made, offered) = (over.rate(), sent / PHASE_DURATION.as_secs());
    Ok(Round { peak, made, offered, taken, taken_then, share, refused, late, slowest })
}

/// Returns the middle one of an odd number of figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Returns how many requests have waited at the gateways for longer than each of [`WAIT_BUCKETS`].
async fn waited_late(gateways: &[ShopClient]) -> anyhow::Result<[f64; 3]> {
    let mut late = [0.0; 3];
    for gateway in gateways {
        let metrics = gateway.request(Method::GET, &format!("{}/metrics", gateway.base));
        let metrics = metrics.send().await?;
        let metrics = metrics.text().await?;
        let bucket = |le: &str| {
            let name = format!("http_queue_seconds_bucket{{le=\"{le}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
            value
                .and_then(|value| value.parse::<f64>().ok())
                .context("the gateway has no metric of waits")
        };
        for (late, bound) in late.iter_mut().zip(WAIT_BUCKETS) {
            *late += bucket("+Inf")? - bucket(bound)?;
        }
    }
    Ok(late)
}

/// Returns the CPU time of this process, which runs the customers and the proxies, as a number of cores over one
/// [`PHASE_DURATION`].
fn cores_taken() -> f64 {
    chaos::cpu_time(std::process::id()).as_secs_f64() / PHASE_DURATION.as_secs_f64()
}

/// Runs customers who wait for each answer (closed loop).
async fn closed_loop(gateways: &[ShopClient]) -> Outcomes {
    let (outcomes, until) = (Arc::new(Outcomes::default()), Instant::now() + PHASE_DURATION);
    let mut customers = JoinSet::new();
    for gateway in gateways.iter().cycle().take(WAITING_CUSTOMERS) {
        let (outcomes, gateway) = (Arc::clone(&outcomes), gateway.clone());
        customers.spawn(async move {
            while Instant::now() < until {
                outcomes.add(&gateway).await;
            }
        });
    }
    customers.join_all().await;
    Arc::into_inner(outcomes).expect("all customers have ended")
}

/// Sends requests at a rate, whatever happens to earlier ones (open loop). Returns the outcomes and the number of requests.
async fn open_loop(gateways: &[ShopClient], rate: u64) -> (Outcomes, u64) {
    let (outcomes, began) = (Arc::new(Outcomes::default()), Instant::now());
    let (mut customers, mut sent) = (JoinSet::new(), 0_u64);
    let mut turns = gateways.iter().cycle();
    let mut ticks = interval(SEND_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while began.elapsed() < PHASE_DURATION {
        ticks.tick().await;
        let due = u128::from(rate) * began.elapsed().as_micros() / 1_000_000;
        while u128::from(sent) < due && customers.len() < OPEN_REQUESTS_MAX {
            let Some(gateway) = turns.next().cloned() else { break };
            let outcomes = Arc::clone(&outcomes);
            customers.spawn(async move { outcomes.add(&gateway).await });
            sent += 1;
        }
        while customers.try_join_next().is_some() {}
    }
    customers.join_all().await;
    (Arc::into_inner(outcomes).expect("all customers have ended"), sent)
}

/// Probes liveness and readiness of every process, and returns the slowest answer.
async fn health(shop: &Shop) -> anyhow::Result<Duration> {
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < PHASE_DURATION {
        for service in gateway::services::processes() {
            for web in shop.cluster.clients(service) {
                for path in ["/actuator/health/liveness", "/actuator/health/readiness"] {
                    let asked = Instant::now();
                    let (status, _) = web.ask(Method::GET, path, None).await?;
                    ensure!(status == StatusCode::OK, "{service} answered {status} at {path}");
                    slowest = slowest.max(asked.elapsed());
                }
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(slowest)
}
