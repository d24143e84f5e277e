-- The events of one transaction go out together: they are one row, a JSON array of what their messages are made
-- of. `size` says how many they are.
-- A replica of before that writes at this moment is waited for, and can write no more: a row that came between the
-- copy and the drop would be lost.
alter table outbox rename to outbox_before;
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
    from outbox_before order by seq;
drop table outbox_before;
alter table outbox_batches rename to outbox;
-- The numbers are new ones: a relay that still goes by the old must not delete by them.
update leases set epoch = epoch + 1, until = 0 where name = 'relay';
