-- How many wait in each queue and for how many seconds the oldest has: jobs and deliveries that are due, events that are
-- not in the lake yet. Only counts leave, so everybody's are counted.
create or replace function operations.queue_depths()
returns table (queue text, depth bigint, oldest_age_seconds double precision)
language sql stable
security definer
set search_path = pg_catalog
as $$
    select 'jobs', count(*), coalesce(extract(epoch from clock_timestamp() - min(run_at)), 0)::double precision
    from operations.jobs
    where status in ('QUEUED', 'RETRYING') and run_at <= now()
    union all
    select 'deliveries', count(*), coalesce(extract(epoch from clock_timestamp() - min(received_at)), 0)::double precision
    from operations.deliveries
    where status = 'pending'
    union all
    select 'events', count(*), coalesce(extract(epoch from clock_timestamp() - min(received_at)), 0)::double precision
    from events.event_log
    where transaction_id >= coalesce(
        (
            select max(next_transaction_id) from events.warehouse_sync_status
            where warehouse_type = 'delta' and status = 'committed'
        ), '0'
    )
$$;

revoke all on function operations.queue_depths() from public;
grant execute on function operations.queue_depths() to pipeline_worker, pipeline_intake;
