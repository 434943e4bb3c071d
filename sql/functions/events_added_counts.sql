-- Two objects of counts as one: counts of the same name are added.
create or replace function events.added_counts(counts jsonb, more jsonb)
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog
as $$
    select coalesce(jsonb_object_agg(summed.name, summed.total), '{}')
    from (
        select both_of_them.key as name, sum(both_of_them.value::bigint) as total
        from (select * from jsonb_each_text(counts) union all select * from jsonb_each_text(more)) as both_of_them
        group by both_of_them.key
    ) as summed
$$;
