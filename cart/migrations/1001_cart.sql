-- Carts that hold stock, and those that did. Listings show the live ones. `removed_at` is null until a cart is removed, and not
-- before: on Postgres an index costs each update that changes one of its columns, those of its condition included.
create table carts (
    id {id},
    gifticon_id bigint not null,
    quantity bigint not null check (quantity > 0),
    reservation_id text not null unique,
    name text not null,
    price bigint not null,
    status text not null,
    added_at bigint not null,
    changed_at bigint not null,
    removed_at bigint
) {updated};
create index carts_live on carts (id) where removed_at is null;

-- Attempts: what is being reserved at gifticon, written before it is asked. A row that a crash left behind is ended by the
-- sweeper, and its stock released, if any was taken. It needs no index by status: there are no more rows than requests
-- under way.
create table intents (
    reservation_id text primary key,
    gifticon_id bigint not null,
    quantity bigint not null,
    idempotency_key text,
    status text not null
) {clustered} {queue};

-- What was answered to a request with an Idempotency-Key, so that its repeat is answered the same.
create table idempotency_keys (
    idempotency_key text primary key,
    gifticon_id bigint not null,
    quantity bigint not null,
    outcome text not null,
    cart_id bigint,
    available bigint,
    minute bigint not null default 0
);
create index idempotency_keys_by_cart on idempotency_keys (cart_id);
create index idempotency_keys_by_minute on idempotency_keys (minute);

insert into counters (name, last_id, live) values ('carts', 0, 0);
