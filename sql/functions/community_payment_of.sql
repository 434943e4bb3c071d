-- Of which payment Stripe's event in a delivery's payload speaks: what an object calls its payment intent, else the object
-- itself; null if neither is an id. What was refused may say anything there.
create or replace function community.payment_of(payload jsonb)
returns text
language sql
immutable
set search_path = pg_catalog
as $$
    select said.id #>> '{}'
    from (
        values (1, payload #> '{data,data,object,payment_intent}'), (2, payload #> '{data,data,object,id}')
    ) as said (place, id)
    where jsonb_typeof(said.id) = 'string' and length(said.id #>> '{}') between 1 and 255
    order by said.place
    limit 1
$$;

revoke all on function community.payment_of(jsonb) from public;
grant execute on function community.payment_of(jsonb) to pipeline_worker;
