-- When somebody with this digest is told of what happens `at`: at once, at the next midnight, or on the next Monday (UTC).
create or replace function community.notification_due_at(digest text, at timestamptz)
returns timestamptz
language sql
immutable
set search_path = pg_catalog
as $$
select case digest
    when 'daily' then date_trunc('day', at, 'UTC') + interval '24 hours'
    when 'weekly' then date_trunc('week', at, 'UTC') + interval '168 hours'
    else at
end
$$;

revoke all on function community.notification_due_at(text, timestamptz) from public;
grant execute on function community.notification_due_at(text, timestamptz) to pipeline_worker;
