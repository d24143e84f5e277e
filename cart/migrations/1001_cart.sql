-- Carts that hold stock, and those that did. Listings show the live ones.
create table carts (
    id {id},
    gifticon_id bigint not null,
    quantity bigint not null check (quantity > 0),
    reservation_id text not null unique,
    name text not null,
    price bigint not null,
    status text not null,
    added_at bigint not null,
    changed_at bigint not null
);
create index carts_live on carts (id) where status <> 'CartRemoved';

-- What is being reserved at gifticon, written before it is asked. A row that a crash left behind is
-- abandoned by the sweeper, and its stock released, if any was taken.
create table intents (
    reservation_id text primary key,
    gifticon_id bigint not null,
    quantity bigint not null,
    idempotency_key text,
    status text not null,
    since bigint not null
);
create index intents_by_age on intents (status, since);

-- What was answered to a request with an Idempotency-Key, so that its repeat is answered the same.
create table idempotency_keys (
    idempotency_key text primary key,
    gifticon_id bigint not null,
    quantity bigint not null,
    outcome text not null,
    cart_id bigint,
    available bigint,
    at bigint not null
);
create index idempotency_keys_by_cart on idempotency_keys (cart_id);

insert into counters (name, last_id, live) values ('carts', 0, 0);
