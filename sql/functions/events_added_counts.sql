-- Two objects of counts as one: counts of the same name are added.
create or replace function events.added_counts(some jsonb, more jsonb)
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog
as $$
    select coalesce(jsonb_object_agg(name, total), '{}')
    from (
        select key as name, sum(value::bigint) as total
        from (select * from jsonb_each_text(some) union all select * from jsonb_each_text(more)) as counts
        group by key
    ) as summed
$$;
