create table gifticons (
    id {id},
    gifticon_id bigint not null unique,
    name text not null,
    -- The last line of defence: never oversold, whatever the code says.
    available bigint not null check (available >= 0),
    held bigint not null check (held >= 0),
    price bigint not null check (price >= 0),
    version bigint not null
) {hot};

-- What carts hold, and the tombstones of what they do not hold any more. `gifticon_id` is null where
-- a release came before its reservation.
create table reservations (
    id text primary key,
    gifticon_id bigint,
    quantity bigint not null,
    name text not null,
    price bigint not null,
    left_over bigint not null,
    status text not null,
    changed_at bigint not null
) {clustered};

insert into counters (name, last_id, live) values ('gifticons', 0, 0);
