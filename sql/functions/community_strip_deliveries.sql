-- Takes out of these deliveries, which are Stripe's, the donors and authors that community.forgotten_payments names, as
-- what is kept of the payment says no more of them either; returns how many changed.
create or replace function community.strip_deliveries(ids uuid[])
returns bigint
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    object constant text [] := '{data,data,object}';
    changed bigint;
begin
    with found as materialized (
        select sent.delivery_id, sent.payload, forgotten.forgets_donor, forgotten.forgets_author
        from operations.deliveries as sent
        inner join community.forgotten_payments as forgotten
            on forgotten.payment_intent = community.payment_of(sent.payload)
        where sent.delivery_id = any(ids)
        order by sent.delivery_id
        for update of sent
    ),
    stripped as (
        select
            found.delivery_id,
            case
                when found.forgets_donor
                    then with_names.payload #- (object || 'client_reference_id'::text) #- (object || 'customer_details'::text)
                else with_names.payload
            end as payload
        from found
        cross join lateral (
            select case
                -- else it names nobody
                when jsonb_typeof(found.payload #> (object || 'metadata'::text)) = 'object'
                    then jsonb_set(
                        found.payload,
                        object || 'metadata'::text,
                        (found.payload #> (object || 'metadata'::text))
                        - case when found.forgets_donor then '{donorId,donorName,message}'::text [] else '{}' end
                        - case when found.forgets_author then '{authorId}'::text [] else '{}' end
                    )
                else found.payload
            end as payload
        ) as with_names
    )
    update operations.deliveries as sent set payload = stripped.payload
    from stripped
    where sent.delivery_id = stripped.delivery_id and sent.payload <> stripped.payload;
    get diagnostics changed = row_count;
    return changed;
end
$$;

revoke all on function community.strip_deliveries(uuid[]) from public;
grant execute on function community.strip_deliveries(uuid[]) to pipeline_worker;
