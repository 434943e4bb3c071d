-- Sets a metric for dashboards, or adds to it, and renews its lifetime. One that has expired starts anew.
create or replace function events.update_realtime_metric(
    metric_name text,
    metric_value double precision,
    dimensions jsonb default '{}',
    ttl interval default '1 hour',
    is_increment boolean default false
)
returns double precision
language sql
set search_path = pg_catalog
as $$
    insert into events.platform_metrics_realtime as metrics (metric_name, dimensions, metric_value, expires_at)
    values (
        update_realtime_metric.metric_name,
        update_realtime_metric.dimensions,
        update_realtime_metric.metric_value,
        now() + ttl
    )
    on conflict (metric_name, dimensions) do update set
    metric_value = excluded.metric_value
    + case when is_increment and metrics.expires_at > now() then metrics.metric_value else 0 end,
    updated_at = now(),
    expires_at = excluded.expires_at
    returning metrics.metric_value
$$;

revoke all on function events.update_realtime_metric(text, double precision, jsonb, interval, boolean) from public;
grant execute on function events.update_realtime_metric(text, double precision, jsonb, interval, boolean)
to pipeline_worker;
