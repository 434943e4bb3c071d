-- Removes metrics whose lifetime is over; returns how many.
create or replace function events.cleanup_expired_metrics()
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    removed integer;
begin
    delete from events.platform_metrics_realtime where expires_at <= now();
    get diagnostics removed = row_count;
    return removed;
end
$$;

revoke all on function events.cleanup_expired_metrics() from public;
grant execute on function events.cleanup_expired_metrics() to pipeline_worker;
