-- The minutes that the service has run, all told. What is deleted by age is stamped with this count instead of the
-- wall clock, which may jump. Rows from before are as old as the count: 0.
create table running_time (
    minutes bigint not null
);
insert into running_time (minutes) values (0);

drop index inbox_by_age;
alter table inbox drop column handled_at;
alter table inbox add column minute bigint not null default 0;
create index inbox_by_minute on inbox (minute);

-- So that rows of writers that are gone can be deleted.
alter table batches add column minute bigint not null default 0;
create index batches_by_minute on batches (minute);

-- A lease is free when nobody has renewed it for a while: who wants it watches this number by a clock of its own.
alter table leases drop column until;
alter table leases add column renewals bigint not null default 0;
