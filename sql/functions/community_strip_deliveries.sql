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
            on forgotten.payment_intent = coalesce(
                sent.payload #>> (object || 'payment_intent'::text), sent.payload #>> (object || 'id'::text)
            )
        where sent.delivery_id = any(ids)
        order by sent.delivery_id
        for update of sent
    ),
    stripped as (
        select
            found.delivery_id,
            case
                when found.forgets_donor then without_author.payload
                    #- (object || 'client_reference_id'::text) #- (object || 'customer_details'::text)
                    #- (object || '{metadata,donorId}'::text []) #- (object || '{metadata,donorName}'::text [])
                    #- (object || '{metadata,message}'::text [])
                else without_author.payload
            end as payload
        from found
        cross join lateral (
            select case
                when found.forgets_author then found.payload #- (object || '{metadata,authorId}'::text [])
                else found.payload
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

revoke all on function community.strip_deliveries(uuid[]) from public;
grant execute on function community.strip_deliveries(uuid[]) to pipeline_worker;
