//! Every timeout, bound and interval that another one relies on, in one table.
//!
//! An inner limit ends before the outer one, so that the outer one learns the reason. The tests below check that they nest.
//! A limit that nothing else relies on stays in the file that uses it. `docs/how/limits.md` lists the most important ones.

use std::time::Duration;

// Requests: patience and a read fit into the gateway's timeout.

/// How long a request waits in queues, all together, before it is refused with 503. After about a second people lose the
/// thread of what they were doing (Nielsen, "Response times: the 3 important limits"). The timeouts of the gateway leave room
/// for it.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long a request waits in an overloaded queue: there is more to do than can be done, and a longer queue would make every
/// request wait. It is also the least patience that a process passes on to the next one. Shorter than [`PATIENCE`].
pub const OVERLOADED_PATIENCE: Duration = Duration::from_millis(100);
/// A request that waited for so long in a queue waited for long. A queue is overloaded when it served nothing else for
/// [`PATIENCE`]. Between [`OVERLOADED_PATIENCE`] and [`PATIENCE`].
pub const LONG_QUEUE_WAIT: Duration = Duration::from_millis(500);
/// How long a service may take to begin its response, at the gateway. Longer than [`PATIENCE`] and [`READ_TIMEOUT`] together,
/// so that a client gets the service's 503 and not the gateway's 504.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for cart, which also waits for gifticon and, with an `Idempotency-Key`, for the first request with that key.
pub const CART_UPSTREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an upstream may send nothing in the middle of a response, at the gateway. Longer than any timeout that a response
/// waits for.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

// Event streams: the gateway never takes one for dead, and a drain does not wait for them.

/// An event stream sends something after this long at the latest. Shorter than [`UPSTREAM_IDLE_TIMEOUT`].
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(5);
/// Within which time a drain ends the event streams. Their clients connect again, so it does not end all at once. Shorter than
/// [`DRAIN_IDLE_TIMEOUT`].
pub const STREAM_DRAIN_SPREAD: Duration = Duration::from_secs(2);

// Tokens: none is believed for long after it expired, nor for long without a check.

/// How far the clocks of the issuer and of this process may be apart: so long a token is good after it expired.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(30);
/// How long a token is believed without another check, by those that remember tokens and by streams that one opened.
pub const TOKEN_BELIEVED_FOR: Duration = Duration::from_mins(5);

// Connections: our clients drop an idle connection before our servers close it.

/// How long our own clients keep an idle connection. Shorter than [`HEAD_TIMEOUT`] and [`DRAIN_IDLE_TIMEOUT`], so that none
/// sends into a connection that is being closed.
pub const CLIENT_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long a client may take for the head of a request, counted from the response before it on a kept connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a client may take for the handshake of TLS. Shorter than [`HEAD_TIMEOUT`]: it comes before the head, and a client needs
/// no more than three round trips for it.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for the whole body of a request. Not a time between two pieces, so that a client that sends a
/// byte now and then is cut off as well. A process may still receive a body when its drain begins:
/// shorter than the part of [`SHUTDOWN_GRACE`] that HTTP has.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

// The database: Postgres ends a statement before its caller gives it up.

/// How long a reader waits for a connection, and how long it may take to make one, before the request is refused with 503.
/// A request that has less patience left waits no longer than that.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection to Postgres that was idle for longer is pinged before its use. Shorter than [`IDLE_TIMEOUT`].
pub const IDLE_BEFORE_PING: Duration = Duration::from_secs(1);
/// How long a ping may take. Shorter than [`ACQUIRE_TIMEOUT`], in which another connection is made after a failed ping.
pub const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection that was idle for longer is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a read may take, and how long all reads of a request may take once its patience is over, before they are refused
/// with 503. A server that vanished sends nothing, and TCP does not notice while the client only waits.
pub const READ_TIMEOUT: Duration = Duration::from_millis(1_750);
/// After how long Postgres ends a read. Shorter than [`READ_TIMEOUT`], so that no statement outlives its reader.
pub const READ_STATEMENT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// After how long Postgres ends a statement of a transaction.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long Postgres ends the wait for a lock. Longer than [`IDLE_TRANSACTION_TIMEOUT`]: a stopped process that holds
/// the lock is cut off before others give up. Shorter than [`STATEMENT_TIMEOUT`], so that the error names the lock.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long Postgres ends a transaction whose process stands still, so that its row locks are released.
pub const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(3);

// The writer.

/// How long the begin of a batch may take on Postgres, its statements, and its commit. Longer than [`STATEMENT_TIMEOUT`]:
/// anything slower is a dead connection that TCP has not noticed.
pub const BATCH_TIMEOUT: Duration = Duration::from_secs(15);
/// The same for the statements of a batch that ends a rebuild.
pub const LONG_BATCH_TIMEOUT: Duration = Duration::from_mins(30);
/// The least time between the starts of two batches under load. Much shorter than [`PATIENCE`], which it is part of.
pub const MIN_BATCH_INTERVAL: Duration = Duration::from_millis(5);

// Leases: a holder renews its lease at least twice a term.

/// How long another replica's lease must be seen unchanged before it is taken (relay, sweeper).
pub const LEASE_TERM: Duration = Duration::from_secs(3);
/// The same for the lease of retention, which looks for work less often: see [`RETENTION_INTERVAL`].
pub const RETENTION_LEASE_TERM: Duration = Duration::from_secs(12);
/// How often retention looks for expired rows, and renews its lease where that is due.
pub const RETENTION_INTERVAL: Duration = Duration::from_secs(5);

/// Returns the age at which a holder renews its lease of `term`: half of it. The other half is for the renewal itself.
pub(crate) fn renewal_age(term: Duration) -> Duration {
    term / 2
}

// Events.

/// How often the relay looks for events without being woken, such as those that another replica left behind. Shorter than
/// the time after which it renews its lease.
pub const RELAY_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The least time between the end of a round of the relay and the start of the next, under load.
pub const MIN_RELAY_INTERVAL: Duration = Duration::from_millis(40);
/// The least time between the starts of two batches of a consumer under load: no client waits for it.
pub const MIN_CONSUMER_INTERVAL: Duration = Duration::from_millis(50);
/// The first pause of work that is tried until it succeeds. Each pause is twice the one before.
pub const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to connect to a database that could not be connected to. Until one succeeds, requests
/// are refused at once, so a database that is back must be found soon.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(250);
/// The longest pause of work that is tried until it succeeds.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often work that fails while the database works is tried: an event alone before it is parked, and a rebuild before it
/// is given up.
pub const EVENT_TRIES_MAX: u32 = 5;

// Kafka. Its settings are in milliseconds.

/// `session.timeout.ms`: the broker takes a silent member out of its group after this long. The least that brokers allow.
pub const KAFKA_SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// `heartbeat.interval.ms`: at least three fit into [`KAFKA_SESSION_TIMEOUT`].
pub const KAFKA_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(1_500);
/// `max.poll.interval.ms`: how long a member may work on a batch before the group goes on without it.
pub const KAFKA_MAX_POLL_INTERVAL: Duration = Duration::from_secs(15);
/// How long a client may know no broker before it is replaced.
///
/// A broker that its controller has fenced, which takes a pause of two seconds, is missing in the metadata that it returns.
/// librdkafka (2.10 to 2.12) then drops it, and if it was the only one, never finds a broker again
/// (<https://github.com/confluentinc/librdkafka/issues/5301>): `chaos --only "SIGSTOP of Kafka"` saw that within five cycles.
pub const KAFKA_NO_BROKER_MAX: Duration = Duration::from_secs(5);
/// How long a client may fail to reach the brokers that it knows before it is replaced. Long, since it retries every second by
/// itself, and is the same member of its group when it succeeds. For a new member the group first waits until the session of
/// the old one ends, and a broker that was killed may have lost the timer for that (Kafka 4.4, see `KafkaBus::consumer`).
pub const KAFKA_UNREACHABLE_MAX: Duration = Duration::from_mins(2);
/// How long a consumer may look for the coordinator of its group, while a broker is reachable, before it is replaced: the bug of
/// [`KAFKA_NO_BROKER_MAX`] was also seen as this. Longer than [`KAFKA_SESSION_TIMEOUT`].
pub const KAFKA_NO_COORDINATOR_MAX: Duration = Duration::from_secs(8);
/// How long a consumer may have no partition to read from before it is replaced. Longer than [`KAFKA_SESSION_TIMEOUT`] and
/// [`KAFKA_MAX_POLL_INTERVAL`]: a rebalance waits for both, and a new member would make it wait again.
pub const KAFKA_NO_PARTITION_MAX: Duration = Duration::from_secs(20);

// The drain: HTTP, then the background tasks, then the writer, within `SHUTDOWN_GRACE`.

/// How long a drain may take: the default of the setting `SHUTDOWN_GRACE`. Less than Kubernetes allows a pod after its
/// `preStop` hook.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// A drain keeps one part in so many for what comes after HTTP: consumers leave their groups, and the relay sends the rest.
pub const DRAIN_RESERVE_SHARE: u32 = 4;
/// A drain stops accepting connections when none came for this long: a proxy needs time to see readiness go down.
pub const DRAIN_QUIET_TIME: Duration = Duration::from_millis(200);
/// The longest that a drain goes on accepting connections.
pub const DRAIN_ACCEPT_MAX: Duration = Duration::from_secs(2);
/// How long a drain leaves an idle connection open: twice [`CLIENT_KEEP_ALIVE`], so that a client of ours neither uses it
/// again nor loses what it sent last on a busy machine.
pub const DRAIN_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the relay goes on sending in a drain.
pub const RELAY_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a process that ends goes on sending spans to the collector, after the drain: less than Kubernetes adds to
/// [`SHUTDOWN_GRACE`].
pub const TRACE_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take to leave a consumer group.
pub const LEAVE_GROUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to close the database after the drain.
pub const DATABASE_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

// Retention, in running time: see `storage/running_time.rs`.

/// How long the marks of handled events are kept. Duplicates arrive within seconds, or within days if a consumer group is
/// reset. An older duplicate does no harm: every command is idempotent.
pub const INBOX_RETENTION: Duration = Duration::from_hours(14 * 24);
/// How long the row of a writer that is gone is kept. One that was only idle makes it again.
pub const WRITER_ROW_RETENTION: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each limit is shorter than the next. Their names are for the message.
    fn assert_nested(limits: &[(&str, Duration)]) {
        for pair in limits.windows(2) {
            let [(inner, inner_time), (outer, outer_time)] = pair else { unreachable!() };
            assert!(inner_time < outer_time, "{inner} {inner_time:?} >= {outer} {outer_time:?}");
        }
    }

    macro_rules! assert_nested {
        ($($limit:expr),+ $(,)?) => { assert_nested(&[$((stringify!($limit), $limit)),+]) };
    }

    #[test]
    fn a_request_ends_before_the_gateway_gives_it_up() {
        assert_nested!(OVERLOADED_PATIENCE, LONG_QUEUE_WAIT, PATIENCE, UPSTREAM_TIMEOUT);
        assert_nested!(PATIENCE + READ_TIMEOUT, UPSTREAM_TIMEOUT, CART_UPSTREAM_TIMEOUT);
        assert_nested!(CART_UPSTREAM_TIMEOUT, UPSTREAM_IDLE_TIMEOUT);
        // The writer takes a command after its patience at the latest. A replica of a version before, which waits for no turn,
        // may then stop while it holds a row.
        assert_nested!(PATIENCE + IDLE_TRANSACTION_TIMEOUT, CART_UPSTREAM_TIMEOUT);
    }

    #[test]
    fn the_writer_and_readers_outlast_the_timeouts_of_the_database() {
        assert_nested!(READ_STATEMENT_TIMEOUT, READ_TIMEOUT, STATEMENT_TIMEOUT);
        assert_nested!(IDLE_TRANSACTION_TIMEOUT, LOCK_TIMEOUT, STATEMENT_TIMEOUT, BATCH_TIMEOUT);
        assert_nested!(BATCH_TIMEOUT, LONG_BATCH_TIMEOUT);
        assert_nested!(MIN_BATCH_INTERVAL * 10, OVERLOADED_PATIENCE);
    }

    #[test]
    fn a_failed_ping_leaves_time_for_another_connection() {
        assert_nested!(PING_TIMEOUT, ACQUIRE_TIMEOUT, READ_TIMEOUT);
        assert_nested!(IDLE_BEFORE_PING, IDLE_TIMEOUT);
        assert!(ACQUIRE_TIMEOUT <= PATIENCE, "a request waits longer than its patience");
    }

    #[test]
    fn a_lease_is_renewed_before_its_term_ends() {
        assert_nested!(RELAY_POLL_INTERVAL, renewal_age(LEASE_TERM), LEASE_TERM);
        // Retention renews at the first look after half of the term.
        let renewed_after = renewal_age(RETENTION_LEASE_TERM) + RETENTION_INTERVAL;
        assert_nested!(RETENTION_INTERVAL, renewed_after, RETENTION_LEASE_TERM);
    }

    #[test]
    fn a_client_of_ours_never_uses_a_connection_that_is_being_closed() {
        assert_nested!(CLIENT_KEEP_ALIVE, DRAIN_IDLE_TIMEOUT, HEAD_TIMEOUT);
        assert_nested!(TLS_HANDSHAKE_TIMEOUT, HEAD_TIMEOUT);
    }

    #[test]
    fn an_event_stream_outlives_silence_and_not_a_drain() {
        assert_nested!(STREAM_HEARTBEAT * 3 / 2, UPSTREAM_IDLE_TIMEOUT);
        assert_nested!(STREAM_DRAIN_SPREAD, DRAIN_IDLE_TIMEOUT);
    }

    #[test]
    fn a_drain_outlasts_the_requests_and_the_farewells_in_it() {
        let reserve = SHUTDOWN_GRACE / DRAIN_RESERVE_SHARE;
        let http = SHUTDOWN_GRACE.saturating_sub(reserve);
        assert_nested!(CART_UPSTREAM_TIMEOUT, BODY_TIMEOUT, http);
        assert_nested!(
            DRAIN_QUIET_TIME,
            DRAIN_ACCEPT_MAX,
            DRAIN_ACCEPT_MAX + DRAIN_IDLE_TIMEOUT,
            http
        );
        assert_nested!(RELAY_DRAIN_TIMEOUT, reserve);
        assert!(LEAVE_GROUP_TIMEOUT <= reserve, "a member leaves its group too late");
    }

    #[test]
    fn a_consumer_is_replaced_only_after_its_group_had_time_to_rebalance() {
        assert_nested!(
            KAFKA_HEARTBEAT_INTERVAL * 3,
            KAFKA_SESSION_TIMEOUT,
            KAFKA_NO_COORDINATOR_MAX
        );
        assert_nested!(KAFKA_SESSION_TIMEOUT, KAFKA_MAX_POLL_INTERVAL, KAFKA_NO_PARTITION_MAX);
        assert_nested!(KAFKA_NO_PARTITION_MAX, KAFKA_UNREACHABLE_MAX);
    }

    #[test]
    fn retries_become_slower() {
        assert_nested!(RETRY_PAUSE_MIN, RECONNECT_PAUSE_MAX, RETRY_PAUSE_MAX);
    }
}
