-- How long requests since an instant took, in milliseconds: median, 95th percentile, how many. NULL where there were
-- none. The caller must be allowed to see the request log.
create or replace function operations.api_latency_ms(
    since timestamptz, out p50 double precision, out p95 double precision, out request_count bigint
)
language sql stable
set search_path = pg_catalog
as $$
    select
        percentile_cont(0.5) within group (order by duration_ms),
        percentile_cont(0.95) within group (order by duration_ms),
        count(*)
    from operations.api_requests
    where occurred_at >= since
$$;

revoke all on function operations.api_latency_ms(timestamptz) from public;
grant execute on function operations.api_latency_ms(timestamptz) to pipeline_worker, pipeline_intake;
