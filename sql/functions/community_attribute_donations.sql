-- Gives donations for a rule whose author was not known the author that is known by now; returns how many.
create or replace function community.attribute_donations()
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    days date[];
    attributed integer;
begin
    with found as (
        update community.donations as kept
        set author_id = rules.author_id, updated_at = clock_timestamp()
        from community.rules as rules
        where kept.author_id is null and kept.rule_id = rules.rule_id and rules.author_id <> ''
        returning kept.paid_on
    )
    select count(*), coalesce(array_agg(found.paid_on), '{}') into attributed, days from found;
    perform community.mark_dirty_days(days, 'author found');
    return attributed;
end
$$;

revoke all on function community.attribute_donations() from public;
grant execute on function community.attribute_donations() to pipeline_worker;
