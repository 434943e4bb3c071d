-- Notes that the donations of UTC days have changed; nulls are days on which nothing was paid.
create or replace function community.mark_dirty_days(days date[], why text)
returns void
language sql
set search_path = pg_catalog
as $$
    insert into community.dirty_days as kept (day, reason)
    select distinct one, why from unnest(days) as one where one is not null
    order by one
    on conflict (day) do update set
        reason = excluded.reason, changes = kept.changes + 1, marked_at = clock_timestamp()
$$;

revoke all on function community.mark_dirty_days(date[], text) from public;
grant execute on function community.mark_dirty_days(date[], text) to pipeline_worker;
