-- Removes what nobody asks for any more: growth by minute after two days, cache metrics after 30, ingestion events after
-- a year, series that nothing has added to for 30 days. Returns how many rows went.
create or replace function operations.remove_old_metrics()
returns bigint
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    amount bigint;
    removed bigint := 0;
begin
    delete from operations.metric_minutes where minute < now() - interval '2 days';
    get diagnostics amount = row_count;
    removed := removed + amount;
    delete from operations.cache_metrics where created_at < now() - interval '30 days';
    get diagnostics amount = row_count;
    removed := removed + amount;
    delete from operations.ingestion_events where created_at < now() - interval '365 days';
    get diagnostics amount = row_count;
    removed := removed + amount;
    delete from operations.metrics where updated_at < now() - interval '30 days';
    get diagnostics amount = row_count;
    return removed + amount;
end
$$;

revoke all on function operations.remove_old_metrics() from public;
grant execute on function operations.remove_old_metrics() to pipeline_worker;
