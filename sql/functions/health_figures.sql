-- Everything that the health endpoint shows, in one answer, as of now: states and details of the services as
-- operations_freshness_sensor left them, breakers, cache hit ratios and prediction latency of the last hour, retries of
-- the last five minutes. The caller must be allowed to see ingestion events.
create or replace function operations.health_figures()
returns jsonb
language plpgsql stable
set search_path = pg_catalog
as $$
begin
    -- plpgsql, which looks for the other function when it runs: files are applied in the order of their names
    return (
        with recent as (
            select
                name, labels ->> 'service' as service, sum(value) as value,
                sum(value) filter (where minute >= date_trunc('minute', now() - interval '5 minutes')) as in_5_minutes
            from operations.metric_minutes
            where
                minute >= date_trunc('minute', now() - interval '1 hour')
                and name in ('cache_hit', 'cache_miss', 'cache_stale', 'api_retry_total') and labels ? 'service'
            group by name, labels ->> 'service'
        ),
        ratios as (
            select service, coalesce(sum(value) filter (where name = 'cache_hit'), 0) / sum(value) as ratio
            from recent
            where name <> 'api_retry_total'
            group by service having sum(value) > 0
        )
        select jsonb_build_object(
            'now', now(),
            'services', (
                select coalesce(jsonb_object_agg(service, to_jsonb(states) - 'service'), '{}')
                from operations.health_states as states
            ),
            'breakers', (
                select coalesce(jsonb_object_agg(name, jsonb_build_object('state', state, 'failures', failure_count)), '{}')
                from operations.circuit_breakers
            ),
            'cache_hit_ratio', (select coalesce(jsonb_object_agg(service, ratio), '{}') from ratios),
            'retries', (
                select coalesce(jsonb_object_agg(service, in_5_minutes), '{}') from recent
                where name = 'api_retry_total' and in_5_minutes > 0
            ),
            'prediction_latency_ms', (
                select jsonb_build_object('p50', p50, 'p95', p95)
                from operations.prediction_latency_ms(now() - interval '1 hour')
            )
        )
    );
end
$$;

revoke all on function operations.health_figures() from public;
grant execute on function operations.health_figures() to pipeline_worker, pipeline_intake;
