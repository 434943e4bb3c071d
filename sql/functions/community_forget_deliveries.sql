-- Takes out of what Stripe delivered the donors and authors of all payments in community.forgotten_payments, and deletes
-- what was refused and names `person`; returns how many deliveries changed. By itself, after community.forget_person,
-- because whoever applies deliveries locks them first and takes that function's lock second.
create or replace function community.forget_deliveries(person text)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog
as $$
begin
    delete from operations.deliveries
    where
        status = 'rejected' and (source = 'stripe' or event_type = 'stripe.event')
        and events.names_person(payload, person);
    return community.strip_deliveries(
        array(select delivery_id from operations.deliveries where event_type = 'stripe.event')
    );
end
$$;

revoke all on function community.forget_deliveries(text) from public;
grant execute on function community.forget_deliveries(text) to pipeline_worker;
