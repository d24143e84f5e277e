-- On SQLite only: one tree, not two (see chassis, 0004).
create table reservations_clustered (
    id text primary key,
    gifticon_id bigint,
    quantity bigint not null,
    name text not null,
    price bigint not null,
    left_over bigint not null,
    status text not null,
    changed_at bigint not null
) without rowid;
insert into reservations_clustered
    select id, gifticon_id, quantity, name, price, left_over, status, changed_at from reservations;
drop table reservations;
alter table reservations_clustered rename to reservations;
