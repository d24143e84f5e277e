-- What the provider is to be asked, and nothing else: decided payments are the most by far.
drop index payments_to_do;
create index payments_to_approve on payments (status) where status = 'Requested';
create index payments_to_cancel on payments (status) where cancel_wanted = 1;
