-- What a customer sees of a cart. A column is null until the event that tells it has come.
create table views (
    id {id},
    cart_id bigint not null unique,
    gifticon_id bigint,
    name text,
    price bigint,
    quantity bigint,
    amount bigint,
    payment_id bigint,
    status text not null,
    created_at bigint not null,
    updated_at bigint not null
);

-- Every step of a cart, each once.
create table steps (
    cart_id bigint not null,
    event_type text not null,
    at bigint not null,
    primary key (cart_id, event_type)
);

insert into counters (name, last_id, live) values ('mypages', 0, 0);
