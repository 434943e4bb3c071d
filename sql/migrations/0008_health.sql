-- What ran, how the cache did, metrics of all processes, and the state of health that they add up to.

create table operations.ingestion_events (
    ingestion_event_id bigint generated always as identity primary key,
    event_type text not null check (event_type <> ''),
    market_slug text,
    source text not null check (source <> ''),
    status text not null default 'success' check (status in ('success', 'partial', 'failed')),
    processed_records integer not null default 0 check (processed_records >= 0),
    rejected_records integer not null default 0 check (rejected_records >= 0),
    processing_time_ms double precision not null check (processing_time_ms >= 0),
    cache_keys_invalidated text[] not null default '{}',
    provenance jsonb not null default '{}',
    error_message text,
    delivery_id uuid,
    job_id uuid,
    dagster_run_id text,
    created_at timestamptz not null default clock_timestamp()
);
comment on table operations.ingestion_events is
'One row per ingestion, cache warming and prediction: what came from where, how long it took, which cache keys it made '
'invalid. Types: market.fundamentals.upsert, comps.upsert, macro.update, api.prediction, cache.warming and others.';

create index ingestion_events_type on operations.ingestion_events (event_type, created_at);
create index ingestion_events_created on operations.ingestion_events (created_at);

create table operations.cache_metrics (
    cache_metric_id bigint generated always as identity primary key,
    metric_name text not null check (metric_name <> ''),
    metric_value double precision not null,
    tags jsonb not null default '{}' check (jsonb_typeof(tags) = 'object'),
    created_at timestamptz not null default clock_timestamp()
);
comment on table operations.cache_metrics is
'One row per minute, count or ratio, and service (its tag), of the caches of all processes: cache_hit, cache_miss, '
'cache_stale, cache_warm, cache_invalidate and cache_hit_ratio. created_at is the start of the minute.';

create unique index cache_metrics_minutes on operations.cache_metrics (created_at, metric_name, tags);

create table operations.metrics (
    name text not null check (name ~ '^[a-z_][a-z0-9_]*$'),
    labels jsonb not null check (jsonb_typeof(labels) = 'object'),
    type text not null check (type in ('counter', 'gauge', 'histogram')),
    value double precision not null default 0,
    sample_count bigint not null default 0 check (sample_count >= 0),
    bucket_bounds double precision[] not null default '{}',
    bucket_counts bigint[] not null default '{}',
    updated_at timestamptz not null default clock_timestamp(),
    primary key (name, labels),
    check (cardinality(bucket_bounds) = cardinality(bucket_counts))
);
comment on table operations.metrics is
'One row per series: a counter''s total, a gauge''s last value, or a histogram''s sum with its counts (not cumulative) up '
'to each bound. All processes add to the same rows, in batches.';

create table operations.metric_minutes (
    minute timestamptz not null,
    name text not null,
    labels jsonb not null,
    value double precision not null,
    primary key (minute, name, labels)
);
comment on table operations.metric_minutes is
'One row per counter and minute in which it grew, by how much; kept for two days. What happened in the last five '
'minutes is asked here.';

create table operations.freshness_states (
    asset_key text primary key,
    asset_group text not null,
    state text not null check (state in ('PASS', 'WARN', 'FAIL', 'UNKNOWN')),
    state_changed_at timestamptz not null,
    last_materialized_at timestamptz,
    data_as_of timestamptz,
    data_state text not null check (data_state in ('PASS', 'WARN', 'FAIL', 'UNKNOWN')),
    reason text,
    checked_at timestamptz not null
);
comment on table operations.freshness_states is
'One row per served asset: Dagster''s freshness state (did it run?), and the age of its newest data (is it recent?), as '
'of checked_at. Mirrored from Dagster by operations_freshness_sensor.';

create table operations.health_states (
    service text primary key,
    status text not null check (status in ('GREEN', 'YELLOW', 'RED', 'UNKNOWN')),
    since timestamptz not null,
    candidate text check (candidate in ('GREEN', 'YELLOW', 'RED', 'UNKNOWN')),
    candidate_since timestamptz,
    candidate_checks integer not null default 0 check (candidate_checks >= 0),
    reasons text[] not null default '{}',
    details jsonb not null default '{}',
    checked_at timestamptz not null,
    check ((candidate is null) = (candidate_since is null))
);
comment on table operations.health_states is
'One row per service of the health endpoint, and one named `overall`: its status, since when, and the status that it '
'would change to if that lasts: seen for the first time at candidate_since, in candidate_checks checks in a row.';

-- how old the newest data is, is asked often
create index snapshots_as_of on market.snapshots (as_of);

-- Row-level security: workers see all; the HTTP intake adds, and reads what the caller whose request it answers may see.
do $$
declare
    table_name text;
begin
    foreach table_name in array array['ingestion_events', 'cache_metrics', 'api_requests'] loop
        execute format('alter table operations.%I enable row level security', table_name);
        execute format('alter table operations.%I force row level security', table_name);
        execute format(
            'create policy workers_see_all on operations.%I to pipeline_worker using (true) with check (true)', table_name
        );
        execute format(
            'create policy owner_sees_all on operations.%I to current_user using (true) with check (true)', table_name
        );
        execute format(
            'create policy intake_adds on operations.%I for insert to pipeline_intake with check (true)', table_name
        );
        execute format(
            'create policy operators_see_all on operations.%I for select to pipeline_intake '
            'using ((select current_setting(''app.scope'', true)) = ''operator'')', table_name
        );
    end loop;
end
$$;
-- the export of a person's data, domains/events/export.py
create policy applications_see_all on operations.api_requests for select to pipeline_intake
using ((select current_setting('app.scope', true)) = 'application');
create policy readers_see_all on operations.ingestion_events for select to pipeline_reader using (true);
create policy readers_see_all on operations.cache_metrics for select to pipeline_reader using (true);

grant select, insert on operations.ingestion_events, operations.cache_metrics to pipeline_intake;
grant select on
operations.metrics, operations.metric_minutes, operations.freshness_states, operations.health_states,
operations.circuit_breakers
to pipeline_intake;

-- the intake warms its cache with what it may read
grant usage on schema market to pipeline_intake;
grant select on market.markets, market.snapshots to pipeline_intake;
