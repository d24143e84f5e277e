use super::*;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

fn queue(permits: usize) -> Queue {
    Queue::new(permits, &Metrics::default())
}

/// Runs a request that takes `work`. Returns how long it waited, and true if it was served.
async fn request(queue: Queue, work: Duration) -> (Duration, bool) {
    let began = Instant::now();
    let permit = queue.enter().await;
    let waited = began.elapsed();
    if let Ok(_permit) = &permit {
        sleep(work).await;
    }
    (waited, permit.is_ok())
}

/// Sends `count` requests every `interval` for `time`, whatever happens to them. Returns for each how long it waited, and true
/// if it was served.
async fn open_loop(
    queue: &Queue,
    (count, interval): (usize, Duration),
    time: Duration,
    work: Duration,
) -> Vec<(Duration, bool)> {
    let (mut requests, began) = (JoinSet::new(), Instant::now());
    while began.elapsed() < time {
        for _ in 0..count {
            requests.spawn(request(queue.clone(), work));
        }
        sleep(interval).await;
    }
    requests.join_all().await
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_fits_into_the_patience_is_served() {
    let queue = queue(10);
    let mut burst = JoinSet::new();
    for _ in 0..1_000 {
        burst.spawn(request(queue.clone(), 9 * MS)); // 0.9 s for all
    }
    let results = burst.join_all().await;
    assert!(results.iter().all(|(_, served)| *served));
    let longest = results.iter().map(|(waited, _)| *waited).max().unwrap();
    assert!(longest > 800 * MS, "the last waited {longest:?}");
}

/// Holds all permits for `time`, as if a disk, a broker or the machine stood still.
async fn block(queue: &Queue, permits: usize, time: Duration) {
    let mut held = Vec::new();
    for _ in 0..permits {
        held.push(queue.enter().await.unwrap());
    }
    sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_below_the_capacity_refuses_nothing() {
    for interval in [4, 2] {
        let queue = queue(10); // 1,000 a second
        let load = open_loop(&queue, (1, interval * MS), 3_000 * MS, 10 * MS);
        let pause = async {
            sleep(1_000 * MS).await;
            let mut held = JoinSet::new();
            for _ in 0..10 {
                let queue = queue.clone();
                held.spawn(async move {
                    let _permit = queue.enter().await.unwrap();
                    sleep(200 * MS).await;
                });
            }
            held.join_all().await;
        };
        let (results, ()) = tokio::join!(load, pause);
        assert!(results.iter().all(|(_, served)| *served), "one request in {interval} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_refused_when_the_patience_is_over_and_not_before() {
    let queue = queue(2);
    let (results, ()) = tokio::join!(
        async {
            sleep(MS).await;
            open_loop(&queue, (1, 10 * MS), 900 * MS, MS).await
        },
        block(&queue, 2, 5_000 * MS)
    );
    assert_eq!(results.len(), 90);
    for (waited, served) in results {
        assert!(!served);
        assert!((PATIENCE..=PATIENCE + 2 * MS).contains(&waited), "it waited {waited:?}");
    }
    assert!(request(queue, MS).await.0 <= MS, "permits are free at once");
}

/// More clients than permits, each of which sends its next request at once: requests always wait, but never for long.
#[tokio::test(start_paused = true)]
async fn a_queue_that_is_never_empty_serves_requests_in_time() {
    let (queue, began) = (queue(10), Instant::now()); // 1,000 a second
    let mut clients = JoinSet::new();
    for _ in 0..400 {
        let queue = queue.clone();
        clients.spawn(async move {
            while began.elapsed() < 5_000 * MS {
                let (waited, served) = request(queue.clone(), 10 * MS).await;
                assert!(served, "refused after {waited:?}");
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn three_times_the_capacity_keeps_the_throughput_with_short_waits() {
    let queue = queue(10); // 1,000 a second
    let (time, work) = (10_000 * MS, 10 * MS);
    let results = open_loop(&queue, (3, MS), time, work).await;
    let (served, refused): (Vec<_>, Vec<_>) = results.iter().partition(|(_, served)| *served);
    assert!(served.len() >= 9_900, "{} of 10,000 were served", served.len());
    let limit = PATIENCE + 10 * MS;
    assert!(results.iter().all(|(waited, _)| *waited <= limit), "a request waited for longer");
    // Once the overload is detected, served and refused requests wait for a short time only.
    let waited_long = |requests: &[&(Duration, bool)]| {
        requests.iter().filter(|(waited, _)| *waited > OVERLOADED_PATIENCE + 10 * MS).count()
    };
    let (served_late, refused_late) = (waited_long(&served), waited_long(&refused));
    assert!(served_late < 2_000 && refused_late < 4_000, "{served_late}, {refused_late}");
}

#[tokio::test(start_paused = true)]
async fn the_permit_of_a_cancelled_request_is_not_lost() {
    let queue = queue(1);
    let permit = queue.enter().await.unwrap();
    let mut cancelled = Box::pin(queue.enter());
    let mut waiting = Box::pin(queue.enter());
    assert!(futures_util::poll!(cancelled.as_mut()).is_pending());
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    drop(permit); // goes to the first, which is cancelled before it takes it
    drop(cancelled);
    drop(waiting.await.unwrap());
    let state = queue.0.state();
    assert_eq!((state.free, state.slow_since), (1, None));
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_with_the_patience_of_the_request() {
    let queue = queue(1);
    let _permit = queue.enter().await.unwrap();
    let began = Instant::now();
    let waiting = patience::with(began + 30 * MS, queue.enter());
    assert_eq!(waiting.await.unwrap_err(), Unavailable::Overloaded { at: "queue" });
    assert_eq!(began.elapsed(), 30 * MS);
}
