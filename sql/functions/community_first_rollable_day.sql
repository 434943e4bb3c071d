-- The first UTC day of which no event of rules has expired: the rollups of earlier ones stay as they are.
create or replace function community.first_rollable_day()
returns date
language sql
stable
set search_path = pg_catalog
as $$
    select coalesce(max((now() at time zone 'UTC' - kept_for)::date), '2000-01-01')
    from events.event_retention
    where event_type in ('VIEW', 'COPY', 'SAVE', 'FORK', 'VOTE')
$$;

revoke all on function community.first_rollable_day() from public;
grant execute on function community.first_rollable_day() to pipeline_worker;
