-- Takes out of what Stripe delivered the donors and authors of all payments in community.forgotten_payments, and deletes
-- what was refused and names `person`; returns how many deliveries changed. By itself, after community.forget_person,
-- because whoever applies deliveries locks them first and takes that function's lock second.
create or replace function community.forget_deliveries(person text)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    object constant text [] := '{data,data,object}';
    changed bigint;
begin
    delete from operations.deliveries
    where source = 'stripe' and status = 'rejected' and events.names_person(payload, person);
    with found as materialized (
        select sent.delivery_id, forgotten.forgets_donor, forgotten.forgets_author
        from operations.deliveries as sent
        inner join community.forgotten_payments as forgotten
            on forgotten.payment_intent = coalesce(
                sent.payload #>> (object || 'payment_intent'::text), sent.payload #>> (object || 'id'::text)
            )
        where sent.source = 'stripe'
        order by sent.delivery_id
        for update of sent
    ),
    stripped as (
        select
            sent.delivery_id,
            case
                when found.forgets_donor then without_author.payload
                    #- (object || 'client_reference_id'::text) #- (object || 'customer_details'::text)
                    #- (object || '{metadata,donorId}'::text []) #- (object || '{metadata,donorName}'::text [])
                    #- (object || '{metadata,message}'::text [])
                else without_author.payload
            end as payload
        from found
        inner join operations.deliveries as sent on found.delivery_id = sent.delivery_id
        cross join lateral (
            select case
                when found.forgets_author then sent.payload #- (object || '{metadata,authorId}'::text [])
                else sent.payload
            end as payload
        ) as without_author
    )
    update operations.deliveries as sent set payload = stripped.payload
    from stripped
    where sent.delivery_id = stripped.delivery_id and sent.payload <> stripped.payload;
    get diagnostics changed = row_count;
    return changed;
end
$$;

revoke all on function community.forget_deliveries(text) from public;
grant execute on function community.forget_deliveries(text) to pipeline_worker;
