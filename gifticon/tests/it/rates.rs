//! Replicas share the bound on the writes of each client: two of them allow what one does.

use chassis::Running;
use chassis::base::config::{Auth, Host, RateLimit};
use chassis::testing::{TestDb, TestIssuer, TestLog, eventually};
use gifticon::GifticonConfig;
use reqwest::{Client, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Writes a second that a client may make.
const RATE: u32 = 20;
/// After this long both replicas know of each other, and the writes that may come at once have come.
const UNTIL_KNOWN: Duration = Duration::from_secs(6);
/// How long writes are counted.
const COUNTED_FOR: Duration = Duration::from_secs(10);
/// The time between two writes of a client at a replica: it asks for much more than it may.
const BETWEEN_WRITES: Duration = Duration::from_millis(10);

/// Two replicas of gifticon on one database, and a client of both.
struct Replicas {
    running: Vec<Running>,
    client: Client,
    token: Option<String>,
    last_id: AtomicU64,
    _log: TestLog,
}

impl Replicas {
    async fn start(auth: Auth, token: Option<String>) -> Self {
        let (db, log) = (TestDb::postgres().await, TestLog::open().await);
        let mut running = Vec::new();
        for _ in 0..2 {
            let rate_limit = RateLimit { rate_limit_writes: Some(RATE) };
            let host = Host { auth: auth.clone(), rate_limit, ..db.host() };
            let bus = Arc::new(log.log.clone());
            running.push(gifticon::start(GifticonConfig { host }, bus).await.unwrap());
        }
        let client = Client::builder().no_proxy().build().unwrap();
        Self { running, client, token, last_id: AtomicU64::new(0), _log: log }
    }

    /// Registers one more gifticon at a replica. Returns the status.
    async fn write(&self, replica: &Running) -> StatusCode {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let body =
            json!({ "gifticonId": id, "name": "Cake", "availableQuantity": 1, "price": 1_000 });
        let mut request = self.client.post(format!("{}/gifticons", replica.url())).json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().status()
    }

    /// Returns how many writes a replica took within a time, of a client that never waits as it is told to.
    async fn taken(&self, replica: &Running, time: Duration) -> usize {
        let (began, mut taken) = (Instant::now(), 0);
        while began.elapsed() < time {
            match self.write(replica).await {
                StatusCode::CREATED => taken += 1,
                status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
            }
            sleep(BETWEEN_WRITES).await;
        }
        taken
    }

    /// Returns how many both took.
    async fn taken_by_both(&self, time: Duration) -> [usize; 2] {
        let [one, other] = &self.running[..] else { panic!("two replicas run") };
        tokio::join!(self.taken(one, time), self.taken(other, time)).into()
    }
}

/// Counts the writes of one client that two replicas take together.
async fn two_replicas_take_what_one_may(auth: Auth, token: Option<String>) {
    let replicas = Replicas::start(auth, token).await;
    for replica in &replicas.running {
        eventually("the first write", async || {
            (replicas.write(replica).await == StatusCode::CREATED).then_some(())
        })
        .await;
    }
    replicas.taken_by_both(UNTIL_KNOWN).await;
    let began = Instant::now();
    let writes = replicas.taken_by_both(COUNTED_FOR).await;
    // A write that was begun in time may end later, and where the machine stood still, a second's writes come at once.
    let seconds = began.elapsed().as_secs_f64() + 1.0;
    let (all, most) = (writes.iter().sum::<usize>(), f64::from(RATE) * seconds);
    println!("{writes:?} writes in {:.1} s, of {most:.0} at most", seconds - 1.0);
    assert!(f64::from(u32::try_from(all).unwrap()) <= most, "{writes:?}, and {most} at most");
    let least = usize::try_from(RATE).unwrap() * 10 / 4;
    assert!(writes.iter().all(|one| *one >= least), "each gives its part: {writes:?}");
    for replica in replicas.running {
        replica.stop(Duration::from_secs(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn two_replicas_share_the_rate_of_an_address() {
    two_replicas_take_what_one_may(Auth::open(), None).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn two_replicas_share_the_rate_of_an_owner() {
    let issuer = TestIssuer::start().await;
    let token = issuer.token("minji", &["md"]);
    two_replicas_take_what_one_may(issuer.auth(), Some(token)).await;
}
