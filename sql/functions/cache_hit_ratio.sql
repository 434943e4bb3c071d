-- Of the reads of a service's cache since an instant (to the minute), the part that it answered itself, 0 to 1: a stale
-- value that stood in for a source that is down is no hit. NULL for fewer than `at_least` reads.
create or replace function operations.cache_hit_ratio(service text, since timestamptz, at_least bigint default 1)
returns double precision
language sql stable
set search_path = pg_catalog
as $$
    select case
        when sum(value) >= at_least then coalesce(sum(value) filter (where name = 'cache_hit'), 0) / nullif(sum(value), 0)
    end
    from operations.metric_minutes
    where
        minute >= date_trunc('minute', since) and name in ('cache_hit', 'cache_miss', 'cache_stale')
        and labels ->> 'service' = service
$$;

revoke all on function operations.cache_hit_ratio(text, timestamptz, bigint) from public;
grant execute on function operations.cache_hit_ratio(text, timestamptz, bigint)
to pipeline_worker, pipeline_intake, pipeline_reader;
