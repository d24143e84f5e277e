-- What a customer sees of a cart, and when each of its steps happened. A column is null until the event that tells it has
-- come. A rebuild fills a copy of this table and lets it take the place of this one.
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
    updated_at bigint not null,
    cart_added_at bigint,
    payment_approved_at bigint,
    cart_removed_at bigint,
    payment_declined_at bigint,
    payment_cancelled_at bigint
) {updated};

-- The rebuild of the view that is running, if one is.
create table rebuild (
    token text primary key
);

insert into counters (name, last_id, live) values ('mypages', 0, 0);
