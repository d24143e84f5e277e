-- One row a cart. It gets its id, and is shown, when its payment is decided; until then it is a piece
-- of work for the provider's worker. A cancel that came first has no amount yet.
create table payments (
    cart_id bigint primary key,
    id bigint unique,
    amount bigint,
    status text not null,
    cancel_wanted bigint not null,
    reason text,
    traceparent text,
    changed_at bigint not null
);
-- What the provider is to be asked, and nothing else: decided payments are the most by far.
create index payments_to_approve on payments (status) where status = 'Requested';
create index payments_to_cancel on payments (status) where cancel_wanted = 1;

insert into counters (name, last_id, live) values ('payments', 0, 0);
