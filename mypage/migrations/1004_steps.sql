-- When each step of a cart happened is in its view: what is read and written together is one row.
-- A replica of before that writes at this moment is waited for, and can write no more (see chassis, 0003).
alter table views rename to views_before;
alter table steps rename to steps_before;
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
);
insert into views
    select v.id, v.cart_id, v.gifticon_id, v.name, v.price, v.quantity, v.amount, v.payment_id, v.status,
        v.created_at, v.updated_at, s.cart_added_at, s.payment_approved_at, s.cart_removed_at,
        s.payment_declined_at, s.payment_cancelled_at
    from views_before v left join (
        select cart_id,
            max(case event_type when 'CartAdded' then at end) as cart_added_at,
            max(case event_type when 'PaymentApproved' then at end) as payment_approved_at,
            max(case event_type when 'CartRemoved' then at end) as cart_removed_at,
            max(case event_type when 'PaymentDeclined' then at end) as payment_declined_at,
            max(case event_type when 'PaymentCancelled' then at end) as payment_cancelled_at
        from steps_before group by cart_id
    ) s on s.cart_id = v.cart_id;
drop table views_before;
drop table steps_before;
-- A rebuild that runs fills tables as they were: it is given up, and a replica of before can begin none.
drop table rebuilds;
create table rebuild (
    token text primary key
);
drop table if exists views_rebuilt;
drop table if exists steps_rebuilt;
