-- A parked event is told from others by its id and by a digest of the message: producers may give two events one id, and
-- neither may hide the other. `holds_key` is 1 where later events of the key wait behind it. A message that is no event
-- of ours cannot have had an effect, so nothing waits for it.
alter table parked add column digest text not null default '';
alter table parked add column holds_key bigint not null default 1;
drop index parked_once;
create unique index parked_once on parked (event_id, digest);
