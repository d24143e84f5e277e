-- The rebuild of the view that is running, if one is. It writes into tables of its own.
create table rebuilds (
    token text primary key
);
