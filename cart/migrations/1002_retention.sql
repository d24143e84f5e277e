-- Finds what may be forgotten without looking at all there is.
create index idempotency_keys_by_age on idempotency_keys (at);
