-- Whom carts belong to. All that are there are guests'. The index is for lists of one owner.
alter table carts add column {if_not_exists} owner text not null default 'guest';
alter table intents add column {if_not_exists} owner text not null default 'guest';
create index if not exists carts_live_by_owner on carts (owner, id) where removed_at is null;
