-- On SQLite only: one tree, not two (see chassis, 0004). And no index by age: there are no more intents than
-- requests under way, and a file has no dead rows to walk through.
create table intents_clustered (
    reservation_id text primary key,
    gifticon_id bigint not null,
    quantity bigint not null,
    idempotency_key text,
    status text not null,
    since bigint not null
) without rowid;
insert into intents_clustered
    select reservation_id, gifticon_id, quantity, idempotency_key, status, since from intents;
drop table intents;
alter table intents_clustered rename to intents;
