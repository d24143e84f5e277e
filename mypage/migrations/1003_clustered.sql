-- On SQLite only: one tree, not two (see chassis, 0004).
create table steps_clustered (
    cart_id bigint not null,
    event_type text not null,
    at bigint not null,
    primary key (cart_id, event_type)
) without rowid;
insert into steps_clustered select cart_id, event_type, at from steps;
drop table steps;
alter table steps_clustered rename to steps;
