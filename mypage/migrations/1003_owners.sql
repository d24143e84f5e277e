-- Whom views belong to. All that are there are guests'. The indexes are for lists of one owner, by each unique field. A rebuild
-- that is running fills a table without the column: it ends.
alter table views add column {if_not_exists} owner text not null default 'guest';
create index if not exists views_by_owner on views (owner, id);
create index if not exists views_by_owner_and_cart on views (owner, cart_id);
delete from rebuild;
