-- Whom payments belong to. All that are there are guests'. The indexes are for lists of one owner, by each unique field.
alter table payments add column {if_not_exists} owner text not null default 'guest';
create index if not exists payments_by_owner on payments (owner, id) where id is not null;
create index if not exists payments_by_owner_and_cart on payments (owner, cart_id) where id is not null;
