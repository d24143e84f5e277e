use super::*;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

fn queue(places: usize) -> Queue {
    Queue::new(places, &Metrics::default())
}

/// One request that takes `work`: how long it waited, and whether it was done.
async fn request(queue: Queue, work: Duration) -> (Duration, bool) {
    let began = Instant::now();
    let entered = queue.enter().await;
    let waited = began.elapsed();
    if let Ok(_place) = &entered {
        sleep(work).await;
    }
    (waited, entered.is_ok())
}

/// As many requests as `together` say every `apart` for `time`. Returns how long each waited, and whether it was done.
async fn open_loop(
    queue: &Queue,
    (together, apart): (usize, Duration),
    time: Duration,
    work: Duration,
) -> Vec<(Duration, bool)> {
    let (mut requests, began) = (JoinSet::new(), Instant::now());
    while began.elapsed() < time {
        for _ in 0..together {
            requests.spawn(request(queue.clone(), work));
        }
        sleep(apart).await;
    }
    requests.join_all().await
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_is_done_within_the_patience_refuses_nobody() {
    let queue = queue(10);
    let mut burst = JoinSet::new();
    for _ in 0..1_000 {
        burst.spawn(request(queue.clone(), 9 * MS)); // 0.9 s for all
    }
    let served = burst.join_all().await;
    assert!(served.iter().all(|(_, done)| *done));
    let longest = served.iter().map(|(waited, _)| *waited).max().unwrap();
    assert!(longest > 800 * MS, "the last waited {longest:?}");
}

/// Places that are all taken stand for a disk, a broker or a machine that stands still.
async fn stand_still(queue: &Queue, places: usize, time: Duration) {
    let mut taken = Vec::new();
    for _ in 0..places {
        taken.push(queue.enter().await.unwrap());
    }
    sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_at_any_load_below_the_capacity_refuses_nobody() {
    for apart in [4, 2] {
        let queue = queue(10); // 1,000 a second
        let load = open_loop(&queue, (1, apart * MS), 3_000 * MS, 10 * MS);
        let pause = async {
            sleep(1_000 * MS).await;
            let mut taken = JoinSet::new();
            for _ in 0..10 {
                let queue = queue.clone();
                taken.spawn(async move {
                    let _place = queue.enter().await.unwrap();
                    sleep(200 * MS).await;
                });
            }
            taken.join_all().await;
        };
        let (served, ()) = tokio::join!(load, pause);
        assert!(served.iter().all(|(_, done)| *done), "at one request in {apart} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_refused_when_the_patience_is_over_and_not_before() {
    let queue = queue(2);
    let (served, ()) = tokio::join!(
        async {
            sleep(MS).await;
            open_loop(&queue, (1, 10 * MS), 900 * MS, MS).await
        },
        stand_still(&queue, 2, 5_000 * MS)
    );
    assert_eq!(served.len(), 90);
    for (waited, done) in served {
        assert!(!done);
        assert!((PATIENCE..=PATIENCE + 2 * MS).contains(&waited), "it waited {waited:?}");
    }
    assert!(request(queue, MS).await.0 <= MS, "there is room at once");
}

/// More customers than places, each of whom comes again at once: somebody always waits, and nobody for long.
#[tokio::test(start_paused = true)]
async fn a_queue_that_is_never_empty_refuses_nobody_whose_turn_comes_in_time() {
    let (queue, began) = (queue(10), Instant::now()); // 1,000 a second
    let mut customers = JoinSet::new();
    for _ in 0..400 {
        let queue = queue.clone();
        customers.spawn(async move {
            while began.elapsed() < 5_000 * MS {
                let (waited, done) = request(queue.clone(), 10 * MS).await;
                assert!(done, "refused after {waited:?}");
            }
        });
    }
    customers.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn three_times_the_capacity_keeps_the_throughput_and_makes_nobody_wait_long() {
    let queue = queue(10); // 1,000 a second
    let (time, work) = (10_000 * MS, 10 * MS);
    let served = open_loop(&queue, (3, MS), time, work).await;
    let (done, refused): (Vec<_>, Vec<_>) = served.iter().partition(|(_, done)| *done);
    assert!(done.len() >= 9_900, "{} of 10,000 were done", done.len());
    let limit = PATIENCE + 10 * MS;
    assert!(served.iter().all(|(waited, _)| *waited <= limit), "somebody waited for longer");
    // Once it is known to be overload, the queue is short on both sides.
    let long = |all: &[&(Duration, bool)]| {
        all.iter().filter(|(waited, _)| *waited > OVERLOADED_PATIENCE + 10 * MS).count()
    };
    let (done_late, refused_late) = (long(&done), long(&refused));
    assert!(done_late < 2_000 && refused_late < 4_000, "{done_late} and {refused_late} waited");
}

#[tokio::test(start_paused = true)]
async fn a_place_is_not_lost_with_one_who_goes_away() {
    let queue = queue(1);
    let place = queue.enter().await.unwrap();
    let mut gone = Box::pin(queue.enter());
    let mut stays = Box::pin(queue.enter());
    assert!(futures_util::poll!(gone.as_mut()).is_pending());
    assert!(futures_util::poll!(stays.as_mut()).is_pending());
    drop(place); // it is given to the first, who goes before it takes it
    drop(gone);
    drop(stays.await.unwrap());
    let state = queue.0.state();
    assert_eq!((state.free, state.slow_since), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_patience_that_is_almost_over_ends_the_wait_sooner() {
    let queue = queue(1);
    let _place = queue.enter().await.unwrap();
    let began = Instant::now();
    let waits = patience::with(began + 30 * MS, queue.enter());
    assert_eq!(waits.await.unwrap_err(), Unavailable::Overloaded { at: "queue" });
    assert_eq!(began.elapsed(), 30 * MS);
}
