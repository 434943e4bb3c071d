-- Fills events.event_aggregations_hourly for the hour that `target_hour` lies in, the last full one by default, from the
-- hot log; returns the number of rows. Same definitions as the asset events/event_aggregations_hourly, which reads the
-- lake and has the last word. Replaces what is there, as often as one likes.
create or replace function events.aggregate_events_hourly(target_hour timestamptz default null)
returns integer
language plpgsql
set search_path = pg_catalog
set timezone = 'UTC'
as $$
declare
    first_instant constant timestamptz := date_trunc('hour', coalesce(target_hour, now() - interval '1 hour'));
    next_instant constant timestamptz := first_instant + interval '1 hour';
    hot_since constant timestamptz := (
        select min(to_date(right(leaf.relname, 8), 'YYYYMMDD'))
        from pg_inherits
        inner join pg_class as leaf on pg_inherits.inhrelid = leaf.oid
        where pg_inherits.inhparent = 'events.event_log'::regclass and leaf.relname ~ '^event_log_\d{8}$'
    );
    stored integer;
begin
    if first_instant < hot_since then
        raise exception 'the hour % is older than the hot log, which begins on %', first_instant, hot_since::date
        using hint = 'Materialize the day of events/event_aggregations_hourly: it reads the lake.';
    end if;
    -- the lock under which the asset replaces its partitions
    perform pg_advisory_xact_lock(hashtextextended('events.event_aggregations_hourly', 0));
    delete from events.event_aggregations_hourly where bucket_start = first_instant;
    insert into events.event_aggregations_hourly (
        bucket_start, event_type, event_category, event_count, uncounted_count, unique_users, unique_sessions,
        first_event_at, last_event_at, properties
    )
    with hour_events as materialized (
        select
            log.event_type,
            log.event_category,
            log.user_id,
            log.session_id,
            log.event_data,
            log."timestamp" as occurred_at,
            log.uncounted_reason is null as is_counted
        from events.platform_events as log
        where
            log."timestamp" >= first_instant and log."timestamp" < next_instant
            -- no event is received more than a day before it happened: older partitions are not read
            and log.created_at >= first_instant - interval '1 day'
    ),
    numeric_properties as (
        select distinct schemas.event_type, property.key as name
        from events.event_schemas as schemas
        cross join lateral jsonb_each(
            case when jsonb_typeof(schemas.json_schema -> 'properties') = 'object' then schemas.json_schema -> 'properties' end
        ) as property
        where jsonb_typeof(property.value) = 'object' and property.value -> 'type' ?| array['number', 'integer']
    ),
    property_values as (
        select
            hour_events.event_type,
            hour_events.event_category,
            numeric_properties.name,
            case when abs(number.value) >= 1e-300 then number.value else 0 end as value -- smaller ones are no double
        from hour_events
        inner join numeric_properties on hour_events.event_type = numeric_properties.event_type
        cross join lateral (
            select (hour_events.event_data ->> numeric_properties.name)::numeric as value
        ) as number
        where hour_events.is_counted and jsonb_typeof(hour_events.event_data -> numeric_properties.name) = 'number'
    ),
    property_statistics as (
        select
            event_type,
            event_category,
            name,
            jsonb_build_object(
                'count', count(*),
                'sum', sum(round(value, 9))::double precision,
                'min', min(value)::double precision,
                'max', max(value)::double precision,
                'p50', percentile_cont(0.50) within group (order by value::double precision),
                'p95', percentile_cont(0.95) within group (order by value::double precision)
            ) as figures
        from property_values
        where abs(value) <= 1e18
        group by event_type, event_category, name
    ),
    properties as (
        select event_type, event_category, jsonb_object_agg(name, figures) as figures
        from property_statistics
        group by event_type, event_category
    )
    select
        first_instant,
        hour_events.event_type,
        hour_events.event_category,
        count(*) filter (where hour_events.is_counted),
        count(*) filter (where not hour_events.is_counted),
        count(distinct hour_events.user_id) filter (where hour_events.is_counted),
        count(distinct hour_events.session_id) filter (where hour_events.is_counted),
        min(hour_events.occurred_at),
        max(hour_events.occurred_at),
        coalesce(properties.figures, '{}')
    from hour_events
    left join properties
        on hour_events.event_type = properties.event_type and hour_events.event_category = properties.event_category
    group by hour_events.event_type, hour_events.event_category, properties.figures;
    get diagnostics stored = row_count;
    return stored;
end
$$;

revoke all on function events.aggregate_events_hourly(timestamptz) from public;
grant execute on function events.aggregate_events_hourly(timestamptz) to pipeline_worker;
