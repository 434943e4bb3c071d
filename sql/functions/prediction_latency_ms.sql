-- How long predictions since an instant took, in milliseconds: median, 95th percentile, how many. NULL where there were
-- none. The caller must be allowed to see ingestion events.
create or replace function operations.prediction_latency_ms(
    since timestamptz, out p50 double precision, out p95 double precision, out prediction_count bigint
)
language sql stable
set search_path = pg_catalog
as $$
    select
        percentile_cont(0.5) within group (order by processing_time_ms),
        percentile_cont(0.95) within group (order by processing_time_ms),
        count(*)
    from operations.ingestion_events
    where event_type = 'api.prediction' and created_at >= since and status <> 'failed'
$$;

revoke all on function operations.prediction_latency_ms(timestamptz) from public;
grant execute on function operations.prediction_latency_ms(timestamptz)
to pipeline_worker, pipeline_intake, pipeline_reader;
