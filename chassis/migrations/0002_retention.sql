-- Finds what may be forgotten without looking at all there is.
create index inbox_by_age on inbox (handled_at);
