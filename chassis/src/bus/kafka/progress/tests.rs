use super::*;
use rdkafka::statistics::Topic;

/// Returns statistics of a partition whose messages are all read and committed.
fn at_end() -> Partition {
    Partition {
        fetch_state: "active".into(),
        leader: 1,
        lo_offset: 0,
        next_offset: 10,
        app_offset: 10,
        stored_offset: 10,
        committed_offset: 10,
        hi_offset: 10,
        ls_offset: 10,
        ..Partition::default()
    }
}

fn statistics(partition: Partition) -> Statistics {
    let topic =
        Topic { topic: "t".into(), partitions: [(0, partition)].into(), ..Topic::default() };
    Statistics { topics: [("t".to_owned(), topic)].into(), ..Statistics::default() }
}

fn lag(partition: Partition) -> Option<i64> {
    let mut progress = ReadProgress::default();
    progress.update(&statistics(partition), true);
    progress.health().lag
}

const UNKNOWN: i64 = -1001; // as in librdkafka

#[test]
fn the_lag_ends_at_the_high_watermark_and_unknown_is_not_zero() {
    assert_eq!(ReadProgress::default().health().lag, None, "nothing was fetched");
    assert_eq!(lag(at_end()), Some(0));
    let new = Partition {
        next_offset: 0,
        app_offset: UNKNOWN,
        stored_offset: UNKNOWN,
        committed_offset: UNKNOWN,
        ..at_end()
    };
    assert_eq!(lag(new.clone()), Some(10), "a new group that could not read anything");
    let unread = Partition { hi_offset: -1, ls_offset: -1, ..at_end() };
    assert_eq!(lag(unread), None, "a fetch that was refused tells no watermark");
    let beyond = Partition { next_offset: 70, stored_offset: 70, ..at_end() };
    assert_eq!(lag(beyond), None, "the topic is shorter than the position");
    let reset = Partition { committed_offset: 70, ..new.clone() };
    assert_eq!(lag(reset), Some(10), "the position was lost, and reading begins again");
    let querying = Partition { fetch_state: "offset-query".into(), ..new };
    assert_eq!(lag(querying), None);
    let missing = Partition { fetch_state: "none".into(), leader: -1, ..at_end() };
    assert_eq!(lag(missing), None, "a topic that does not exist");
    let of_another_member = Partition { fetch_state: "none".into(), ..at_end() };
    assert_eq!(lag(of_another_member), Some(0), "another member reads it");
}

#[test]
fn the_lag_of_a_topic_that_became_forbidden_is_unknown() {
    let mut progress = ReadProgress::default();
    progress.update(&statistics(at_end()), true);
    progress.record_error(ReadError::Authorization, "no");
    progress.update(&statistics(at_end()), true);
    let none = Partition { fetch_state: "none".into(), ..at_end() };
    progress.update(&statistics(none), true);
    assert_eq!(progress.health().lag, None);
    progress.update(&statistics(at_end()), true);
    assert_eq!(progress.health().lag, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_partition_is_counted_until_it_is_read_again() {
    let mut progress = ReadProgress::default();
    progress.record_error(ReadError::Unsupported, "not implemented");
    let stuck = Partition { hi_offset: 20, ls_offset: 20, ..at_end() };
    progress.update(&statistics(stuck.clone()), true);
    assert_eq!(progress.health().stopped, 0, "the message may be new");
    progress.update(&statistics(stuck.clone()), true);
    assert_eq!(progress.health().stopped, 0, "nobody polled, so nothing moved");
    tokio::time::sleep(Duration::from_secs(1)).await;
    progress.update(&statistics(stuck.clone()), true);
    assert_eq!((progress.health().stopped, progress.health().lag), (1, Some(10)));
    assert_eq!(progress.health().errors, [(ReadError::Unsupported, 1)].into());
    tokio::time::sleep(LAG_LIFETIME).await;
    assert_eq!(progress.health().lag, None, "nobody polled");
    let moved = Partition { next_offset: 12, ..stuck };
    progress.update(&statistics(moved), true);
    assert_eq!(progress.health().stopped, 0);
}
