-- Notes that UTC days of a table of the community have changed; nulls are none, as of what is not paid.
create or replace function community.mark_dirty_days(days date[], why text, of_table text default 'donations')
returns void
language sql
set search_path = pg_catalog
as $$
    insert into community.dirty_days as kept (table_name, day, reason)
    select distinct of_table, one, why from unnest(days) as one where one is not null
    order by one
    on conflict (table_name, day) do update set
        reason = excluded.reason, changes = kept.changes + 1, marked_at = clock_timestamp()
$$;

revoke all on function community.mark_dirty_days(date[], text, text) from public;
grant execute on function community.mark_dirty_days(date[], text, text) to pipeline_worker;
