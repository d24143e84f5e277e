-- For whom units are held, as cart says. What is there, and what a cart without owners reserves, is guests'.
alter table reservations add column {if_not_exists} owner text not null default 'guest';
