-- What was changed on purpose: by whom, and how it was before and afterwards, as JSON. Rows stay.
create table audit (
    id {identity},
    at bigint not null,
    actor text not null,
    action text not null,
    subject text not null,
    before text not null,
    after text not null
);
