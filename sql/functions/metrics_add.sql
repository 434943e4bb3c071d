-- Adds what a process has measured to the metrics of all: counters and histograms grow, gauges are replaced. `series` is
-- an array of {name, type, labels, value, sample_count, bounds, counts}. Counters named cache_* are kept in
-- operations.cache_metrics too, one row per minute and service, with the ratio of hits that they make.
create or replace function operations.add_metrics(series jsonb)
returns void
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    this_minute constant timestamptz := date_trunc('minute', clock_timestamp());
begin
    -- in the order of the key: two processes then wait for each other instead of deadlocking
    insert into operations.metrics as kept (name, labels, type, value, sample_count, bucket_bounds, bucket_counts)
    select one.name, one.labels, one.type, one.value, one.sample_count, one.bounds, one.counts
    from jsonb_to_recordset(series) as one (
        name text, labels jsonb, type text, value double precision, sample_count bigint,
        bounds double precision [], counts bigint []
    )
    order by one.name, one.labels
    on conflict (name, labels) do update set
        type = excluded.type,
        value = case
            when excluded.type = 'gauge' or kept.type <> excluded.type or kept.bucket_bounds <> excluded.bucket_bounds
                then excluded.value
            else kept.value + excluded.value
        end,
        sample_count = case
            when kept.bucket_bounds = excluded.bucket_bounds then kept.sample_count + excluded.sample_count
            else excluded.sample_count
        end,
        bucket_bounds = excluded.bucket_bounds,
        bucket_counts = case
            when kept.bucket_bounds = excluded.bucket_bounds then array(
                select before.amount + more.amount
                from unnest(kept.bucket_counts) with ordinality as before (amount, place)
                inner join unnest(excluded.bucket_counts) with ordinality as more (amount, place)
                    on before.place = more.place
                order by before.place
            )
            else excluded.bucket_counts
        end,
        updated_at = clock_timestamp();

    insert into operations.metric_minutes as kept (minute, name, labels, value)
    select this_minute, one.name, one.labels, one.value
    from jsonb_to_recordset(series) as one (name text, labels jsonb, type text, value double precision)
    where one.type = 'counter'
    order by one.name, one.labels
    on conflict (minute, name, labels) do update set value = kept.value + excluded.value;

    insert into operations.cache_metrics as kept (metric_name, metric_value, tags, created_at)
    select one.name, one.value, one.labels, this_minute
    from jsonb_to_recordset(series) as one (name text, labels jsonb, type text, value double precision)
    where one.type = 'counter' and one.name like 'cache\_%'
    order by one.name, one.labels
    on conflict (created_at, metric_name, tags) do update set metric_value = kept.metric_value + excluded.metric_value;

    insert into operations.cache_metrics (metric_name, metric_value, tags, created_at)
    select
        'cache_hit_ratio',
        coalesce(sum(metric_value) filter (where metric_name = 'cache_hit'), 0) / sum(metric_value), tags, this_minute
    from operations.cache_metrics
    where
        created_at = this_minute and metric_name in ('cache_hit', 'cache_miss', 'cache_stale')
        and tags in (
            select one.labels from jsonb_to_recordset(series) as one (name text, labels jsonb)
            where one.name in ('cache_hit', 'cache_miss', 'cache_stale')
        )
    group by tags
    having sum(metric_value) > 0
    order by tags
    on conflict (created_at, metric_name, tags) do update set metric_value = excluded.metric_value;
end
$$;

revoke all on function operations.add_metrics(jsonb) from public;
grant execute on function operations.add_metrics(jsonb) to pipeline_worker, pipeline_intake;
