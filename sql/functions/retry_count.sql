-- How often calls to a service were made again since an instant (to the minute).
create or replace function operations.retry_count(service text, since timestamptz)
returns bigint
language sql stable
set search_path = pg_catalog
as $$
    select coalesce(sum(value), 0)::bigint
    from operations.metric_minutes
    where minute >= date_trunc('minute', since) and name = 'api_retry_total' and labels ->> 'service' = service
$$;

revoke all on function operations.retry_count(text, timestamptz) from public;
grant execute on function operations.retry_count(text, timestamptz)
to pipeline_worker, pipeline_intake, pipeline_reader;
