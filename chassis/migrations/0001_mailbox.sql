-- What every service keeps beside its own tables. chassis::storage::Dialect says what the words in braces stand for.

-- Events that the broker does not have yet. The events of one transaction go out together: they are one row, a JSON array
-- of what their messages are made of. `size` says how many they are. A row leaves when the broker has acknowledged it.
create table outbox (
    seq {identity},
    size bigint not null,
    created_at bigint not null,
    events text not null
) {queue};

-- Events that were handled. A row is written in the transaction of the effect.
create table inbox (
    event_id text primary key,
    minute bigint not null default 0
) {clustered};
create index inbox_by_minute on inbox (minute);

-- The dead-letter table: events that could not be handled, and what came after them under the same key, in order. An event
-- is told from others by its id and by a digest of the message: producers may give two events one id, and neither may hide
-- the other. `holds_key` is 1 where later events of the key wait behind it.
create table parked (
    id {identity},
    event_id text not null,
    event_type text,
    key text,
    place text not null,
    payload {bytes} not null,
    traceparent text,
    at bigint not null,
    reason text not null,
    parked_at bigint not null,
    digest text not null default '',
    holds_key bigint not null default 1
);
create unique index parked_once on parked (event_id, digest);
create index parked_by_key on parked (key, id);

-- Work that one replica at a time may do. The epoch grows with every change of hands, so that a replica that slept through
-- its lease can be told apart from the one that has it now. A lease is free when nobody has renewed it for a while: who
-- wants it watches `renewals` by a clock of its own.
create table leases (
    name text primary key,
    holder text not null,
    epoch bigint not null,
    renewals bigint not null default 0
) {hot};

-- The last id that was given and how many rows are live, for each kind of thing. On Postgres the row is locked by every
-- transaction that makes one, so that ids become visible in their order.
create table counters (
    name text primary key,
    last_id bigint not null,
    live bigint not null
) {hot};

-- The last batch of each writer, by which it learns whether a commit that brought no answer holds.
create table batches (
    writer text primary key,
    batch bigint not null,
    minute bigint not null default 0
) {hot};
create index batches_by_minute on batches (minute);

-- The minutes that the service has run, all told. What is deleted by age is stamped with this count instead of the wall
-- clock, which may jump.
create table running_time (
    minutes bigint not null
);
insert into running_time (minutes) values (0);
