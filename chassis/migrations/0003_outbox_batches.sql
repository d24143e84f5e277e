-- The events of one transaction go out together: they are one row, a JSON array of what their messages are made
-- of. `size` says how many they are.
create table outbox_batches (
    seq {identity},
    size bigint not null,
    created_at bigint not null,
    events text not null
);
insert into outbox_batches (size, created_at, events)
    select 1, created_at,
        '[{"id":"' || event_id || '","event_type":"' || event_type || '","key":"' || key || '","traceparent":'
        || coalesce('"' || traceparent || '"', 'null') || ',"payload":' || payload || '}]'
    from outbox order by seq;
drop table outbox;
alter table outbox_batches rename to outbox;
