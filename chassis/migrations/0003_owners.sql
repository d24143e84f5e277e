-- How many of the live rows belong to others than guests. Where everybody is a guest it stays 0, and versions before this one,
-- which do not count it, count right.
alter table counters add column {if_not_exists} owned bigint not null default 0;
