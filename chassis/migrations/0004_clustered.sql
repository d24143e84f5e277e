-- On SQLite only: a table whose key is a text is two trees there, and each row is written to both. Without a
-- row number of its own it is one.
create table inbox_clustered (
    event_id text primary key,
    handled_at bigint not null
) without rowid;
insert into inbox_clustered select event_id, handled_at from inbox;
drop table inbox;
alter table inbox_clustered rename to inbox;
create index inbox_by_age on inbox (handled_at);
