-- What every service keeps beside its own tables. `{identity}`, `{id}` and `{bytes}` are all that differs
-- between the databases: see chassis::db::Schema.

-- Events that the broker does not have yet. A row leaves when the broker has acknowledged it.
create table outbox (
    seq {identity},
    event_id text not null,
    event_type text not null,
    key text not null,
    payload text not null,
    traceparent text,
    created_at bigint not null
);

-- Events that were handled. A row is written in the transaction of the effect.
create table inbox (
    event_id text primary key,
    handled_at bigint not null
);

-- Events that could not be handled, and what came after them under the same key, in order.
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
    parked_at bigint not null
);
create unique index parked_once on parked (event_id);
create index parked_by_key on parked (key, id);

-- Work that one replica at a time may do. The epoch grows with every change of hands, so that a
-- replica that slept through its lease can be told apart from the one that has it now.
create table leases (
    name text primary key,
    holder text not null,
    epoch bigint not null,
    until bigint not null
);

-- The last id that was given and how many rows are live, for each kind of thing. On Postgres the row
-- is locked by every transaction that makes one, so that ids become visible in their order.
create table counters (
    name text primary key,
    last_id bigint not null,
    live bigint not null
);

-- The last batch of each writer, by which it learns whether a commit that brought no answer holds.
create table batches (
    writer text primary key,
    batch bigint not null
);
