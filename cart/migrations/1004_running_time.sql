-- The age of a key is counted in minutes that the service has run (see chassis, 0005).
drop index idempotency_keys_by_age;
alter table idempotency_keys drop column at;
alter table idempotency_keys add column minute bigint not null default 0;
create index idempotency_keys_by_minute on idempotency_keys (minute);

-- The sweeper goes by how long it has seen an intent itself.
drop index if exists intents_by_age;
alter table intents drop column since;
