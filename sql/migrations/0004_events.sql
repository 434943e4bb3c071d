-- Product events: the hot log and everything that hangs on it. History is in the lake (events/event_history).

create schema if not exists events;

grant usage on schema events to pipeline_worker, pipeline_reader, pipeline_intake;
grant usage on schema operations to pipeline_intake;
alter default privileges in schema events
grant select, insert, update, delete on tables to pipeline_worker;
alter default privileges in schema events grant usage, select on sequences to pipeline_worker;

do $$
begin
    execute format(
        'alter database %I set search_path = market, events, operations, public', current_database()
    );
end
$$;

create table events.event_log (
    event_id uuid not null,
    transaction_id xid8 not null default pg_current_xact_id(),
    event_type text not null check (event_type <> '' and length(event_type) <= 200),
    event_category text not null
    check (event_category in ('transaction', 'interaction', 'user_activity', 'content')),
    schema_version integer not null,
    user_id text check (length(user_id) between 1 and 200),
    session_id text check (length(session_id) between 1 and 200),
    rule_id text check (length(rule_id) between 1 and 200),
    event_data jsonb not null,
    metadata jsonb not null,
    occurred_at timestamptz not null check (occurred_at >= '2000-01-01Z' and occurred_at < '2100-01-01Z'),
    received_at timestamptz not null,
    clock_skew_seconds double precision,
    idempotency_key text,
    caller text not null,
    origin text not null check (origin in ('http', 'sql', 'replay')),
    country text,
    address_hash text,
    previous_address_hash text
) partition by range (received_at);
comment on table events.event_log is
'One row per accepted product event, by the UTC day it was received. Rows are inserted once and never updated: what has '
'become of one is in event_states and, for the rest, follows from the watermark in warehouse_sync_status.';

create index event_log_event_id on events.event_log (event_id);
create index event_log_transaction_id on events.event_log (transaction_id);
create index event_log_user_id on events.event_log (user_id, received_at);

create table events.event_log_default partition of events.event_log default;

create table events.event_keys (
    key_hash uuid primary key,
    event_id uuid not null
);
comment on table events.event_keys is
'One row per idempotency key (its hash) of the last days: one table for all days, so that a key is one key across midnight. '
'The event id is a UUIDv7, which tells the age.';

create table events.event_states (
    event_id uuid primary key,
    received_at timestamptz not null,
    processing_status text
    check (processing_status in ('pending', 'processing', 'processed', 'failed')),
    retry_count integer not null default 0 check (retry_count >= 0),
    error_message text,
    next_attempt_at timestamptz,
    processed_at timestamptz,
    is_held boolean not null default false,
    uncounted_reason text
);
comment on table events.event_states is
'One row per event of which more is to be said than the watermark says: claimed or settled by a caller, held back from '
'the lake (is_held; failed after the last attempt), or not to be counted.';

create index event_states_due on events.event_states (next_attempt_at) where processing_status <> 'processed';
create index event_states_received_at on events.event_states (received_at);

create table events.event_schemas (
    event_type text not null check (event_type <> ''),
    schema_version integer not null default 1 check (schema_version >= 1),
    event_category text not null
    check (event_category in ('transaction', 'interaction', 'user_activity', 'content')),
    retention_class text not null,
    required_fields text[] not null default '{}',
    json_schema jsonb not null default '{"type": "object"}',
    description text not null default '',
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (event_type, schema_version)
);
comment on table events.event_schemas is
'One row per event type and version: the JSON Schema of its event_data, the fields of the envelope that it requires, how '
'long it is kept. The highest active version holds for an event that names none.';

create table events.retention_classes (
    retention_class text primary key,
    kept_for interval not null check (kept_for > interval '0')
);
comment on table events.retention_classes is 'One row per retention class: how long after it occurred an event is kept.';

insert into events.retention_classes (retention_class, kept_for) values
('transaction', '7 years'),
('content', '7 years'),
('user_activity', '2 years'),
('interaction', '1 year');

alter table events.event_schemas add foreign key (retention_class) references events.retention_classes (retention_class);

create table events.intake_counts (
    day date not null,
    intake_id text not null,
    received bigint not null default 0,
    stored bigint not null default 0,
    duplicate bigint not null default 0,
    rejected bigint not null default 0,
    erased bigint not null default 0,
    primary key (day, intake_id)
);
comment on table events.intake_counts is
'One row per UTC day and intake process: events received and what became of each, counted in the transaction that '
'stored them. Erasure counts what it took away again.';

create table events.address_keys (
    day date primary key,
    key bytea not null
);
comment on table events.address_keys is
'One row per UTC day that events still arrive for: the secret under which client addresses are hashed. Removed after two '
'days, which makes the hashes of that day meaningless to everybody.';

create table events.counted_views (
    address_hash text not null,
    rule_id text not null,
    counted_at timestamptz not null,
    primary key (address_hash, rule_id, counted_at)
);
comment on table events.counted_views is
'One row per counted VIEW of the last two days: another from the same address on the same rule within ten minutes does '
'not count.';

create table events.warehouse_sync_status (
    warehouse_type text not null check (warehouse_type in ('delta', 'bigquery', 'redshift')),
    batch_number bigint not null check (batch_number >= 1),
    status text not null check (status in ('planned', 'written', 'committed')),
    first_transaction_id xid8,
    next_transaction_id xid8,
    retried_event_ids uuid[] not null default '{}',
    events_synced bigint not null default 0 check (events_synced >= 0),
    bytes_synced bigint not null default 0 check (bytes_synced >= 0),
    sync_duration_ms bigint not null default 0 check (sync_duration_ms >= 0),
    lag_seconds double precision,
    first_event_at timestamptz,
    last_event_at timestamptz,
    days date[] not null default '{}',
    target text not null default '',
    attempt_count integer not null default 0 check (attempt_count >= 0),
    error_message text,
    created_at timestamptz not null default now(),
    committed_at timestamptz,
    primary key (warehouse_type, batch_number),
    check ((status = 'committed') = (committed_at is not null))
);
comment on table events.warehouse_sync_status is
'The write-ahead ledger of warehouses, one row per batch and warehouse: planned (what belongs to it), written (it is in '
'the warehouse), committed (everything that follows from it is recorded).';

create unique index warehouse_sync_status_open on events.warehouse_sync_status (warehouse_type)
where status <> 'committed' and warehouse_type = 'delta';
create index warehouse_sync_status_position on events.warehouse_sync_status (warehouse_type, next_transaction_id);
create index warehouse_sync_status_created_at on events.warehouse_sync_status (created_at);

create table events.platform_metrics_realtime (
    metric_name text not null check (metric_name <> ''),
    dimensions jsonb not null default '{}',
    metric_value double precision not null,
    updated_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (metric_name, dimensions)
);
comment on table events.platform_metrics_realtime is
'One row per metric and its dimensions, for dashboards; gone after expires_at.';

create index platform_metrics_realtime_expires_at on events.platform_metrics_realtime (expires_at);

create table events.event_aggregations_hourly (
    bucket_start timestamptz not null,
    event_type text not null,
    event_category text not null,
    event_count integer not null check (event_count >= 0),
    uncounted_count integer not null check (uncounted_count >= 0),
    unique_users integer not null check (unique_users >= 0),
    unique_sessions integer not null check (unique_sessions >= 0),
    first_event_at timestamptz not null,
    last_event_at timestamptz not null,
    properties jsonb not null,
    primary key (event_type, event_category, bucket_start)
);
create index event_aggregations_hourly_bucket on events.event_aggregations_hourly (bucket_start);

create table events.event_aggregations_daily (like events.event_aggregations_hourly including all);
create table events.event_aggregations_weekly (like events.event_aggregations_hourly including all);

create view events.event_aggregations with (security_invoker = true) as
select
    'hourly' as aggregation_period,
    hourly.bucket_start,
    hourly.event_type,
    hourly.event_category,
    hourly.event_count,
    hourly.uncounted_count,
    hourly.unique_users,
    hourly.unique_sessions,
    hourly.first_event_at,
    hourly.last_event_at,
    hourly.properties
from events.event_aggregations_hourly as hourly
union all
select
    'daily' as aggregation_period,
    daily.bucket_start,
    daily.event_type,
    daily.event_category,
    daily.event_count,
    daily.uncounted_count,
    daily.unique_users,
    daily.unique_sessions,
    daily.first_event_at,
    daily.last_event_at,
    daily.properties
from events.event_aggregations_daily as daily
union all
select
    'weekly' as aggregation_period,
    weekly.bucket_start,
    weekly.event_type,
    weekly.event_category,
    weekly.event_count,
    weekly.uncounted_count,
    weekly.unique_users,
    weekly.unique_sessions,
    weekly.first_event_at,
    weekly.last_event_at,
    weekly.properties
from events.event_aggregations_weekly as weekly;

create table events.daily_active_users (
    day date primary key,
    active_users integer not null check (active_users >= 0),
    active_users_7_days integer not null check (active_users_7_days >= 0),
    active_users_28_days integer not null check (active_users_28_days >= 0),
    new_users integer not null check (new_users >= 0),
    sessions integer not null check (sessions >= 0)
);

create table events.funnels (
    day date not null,
    funnel text not null,
    step integer not null check (step >= 1),
    event_type text not null,
    users integer not null check (users >= 0),
    conversion_ratio double precision check (conversion_ratio between 0 and 1),
    median_seconds double precision check (median_seconds >= 0),
    primary key (day, funnel, step)
);

create table events.retention_cohorts (
    week date not null,
    cohort_week date not null,
    weeks_since integer not null check (weeks_since >= 0),
    cohort_users integer not null check (cohort_users >= 0),
    retained_users integer not null check (retained_users >= 0),
    retention_ratio double precision check (retention_ratio between 0 and 1),
    primary key (week, cohort_week)
);

-- Replaying a reject needs to know that it was done and as what.
alter table operations.rejects
add column replayed_at timestamptz,
add column replayed_as text;

create view events.platform_events with (security_invoker = true) as
select
    log.event_id as id,
    log.event_type,
    log.event_category,
    log.schema_version,
    log.user_id,
    log.session_id,
    log.rule_id,
    log.event_data,
    log.metadata,
    log.occurred_at as timestamp,
    log.received_at as created_at,
    log.idempotency_key,
    log.caller,
    log.country,
    coalesce(
        states.processing_status,
        case when log.transaction_id < watermark.next_transaction_id then 'processed' else 'pending' end
    ) as processing_status,
    coalesce(states.retry_count, 0) as retry_count,
    states.error_message,
    states.processed_at,
    states.uncounted_reason
from events.event_log as log
left join events.event_states as states on log.event_id = states.event_id
cross join lateral (
    select coalesce(max(synced.next_transaction_id), '0'::xid8) as next_transaction_id
    from events.warehouse_sync_status as synced
    where synced.warehouse_type = 'delta' and synced.status = 'committed'
) as watermark;
comment on view events.platform_events is
'The event log of the seed: every hot event with what has become of it. Pending events are those above the watermark of '
'the lake.';

-- Row-level security. Workers see everything; the HTTP intake what the person, or the application, whose request it
-- answers may see; whoever inserts must not be stopped. The intake's COPY goes into the partitions themselves
-- (PostgreSQL has no COPY into a table with policies), which it may insert into but not read.
alter table events.event_log enable row level security;
alter table events.event_log force row level security;
create policy workers_see_all on events.event_log to pipeline_worker using (true) with check (true);
create policy owner_sees_all on events.event_log to current_user using (true) with check (true);
create policy readers_see_all on events.event_log for select to pipeline_reader using (true);
create policy intake_inserts on events.event_log for insert to pipeline_intake with check (true);
-- one policy: of two, the planner thinks that hardly any row passes, and leaves the indexes alone
create policy callers_see_theirs on events.event_log for select to pipeline_intake using (
    case
        when (select current_setting('app.scope', true)) = 'application' then true
        else user_id = nullif((select current_setting('app.user_id', true)), '')
    end
);

grant select, insert on events.event_log to pipeline_intake;
grant insert on events.event_log_default to pipeline_intake;
grant select, insert on events.event_keys to pipeline_intake;
grant select, insert, update on events.intake_counts to pipeline_intake;
grant select on events.address_keys to pipeline_intake;
grant select on
events.event_states, events.event_schemas, events.retention_classes, events.warehouse_sync_status,
events.platform_metrics_realtime, events.event_aggregations_hourly, events.event_aggregations_daily,
events.event_aggregations_weekly, events.event_aggregations, events.platform_events, events.daily_active_users,
events.funnels, events.retention_cohorts
to pipeline_intake, pipeline_reader;
grant select on events.event_log to pipeline_reader;
grant select, insert, update on operations.rejects to pipeline_intake;
grant usage, select on all sequences in schema operations to pipeline_intake;

insert into events.event_schemas
(event_type, event_category, retention_class, required_fields, json_schema, description)
values
('VIEW', 'interaction', 'interaction', '{ruleId}', '{"type": "object"}', 'A rule was looked at'),
('COPY', 'interaction', 'interaction', '{ruleId}', '{"type": "object"}', 'A rule was copied'),
('SAVE', 'interaction', 'interaction', '{ruleId}', '{"type": "object"}', 'A rule was saved'),
('FORK', 'interaction', 'interaction', '{ruleId}', '{"type": "object"}', 'A rule was forked'),
(
    'VOTE', 'interaction', 'interaction', '{ruleId}',
    '{"type": "object", "properties": {"value": {"type": "number", "enum": [-1, 0, 1]}}}',
    'A rule was voted on; value 1 up, -1 down, 0 withdrawn'
),
(
    'project.created', 'transaction', 'transaction', '{userId}',
    '{"type": "object", "required": ["project_id"], "properties": {"project_id": {"type": "string"}, "title": {"type": "string"}, "budget": {"type": "number", "minimum": 0}, "currency": {"type": "string"}}}',
    'A project was created'
),
(
    'proposal.submitted', 'transaction', 'transaction', '{userId}',
    '{"type": "object", "required": ["proposal_id", "project_id"], "properties": {"proposal_id": {"type": "string"}, "project_id": {"type": "string"}, "amount": {"type": "number", "minimum": 0}}}',
    'A proposal was submitted'
),
(
    'milestone.approved', 'transaction', 'transaction', '{userId}',
    '{"type": "object", "required": ["milestone_id", "project_id"], "properties": {"milestone_id": {"type": "string"}, "project_id": {"type": "string"}, "amount": {"type": "number", "minimum": 0}}}',
    'A milestone was approved'
),
(
    'payment.initiated', 'transaction', 'transaction', '{userId}',
    '{"type": "object", "required": ["payment_id"], "properties": {"payment_id": {"type": "string"}, "amount": {"type": "number", "minimum": 0}, "currency": {"type": "string"}}}',
    'A payment was started'
),
(
    'payment.completed', 'transaction', 'transaction', '{userId}',
    '{"type": "object", "required": ["payment_id"], "properties": {"payment_id": {"type": "string"}, "amount": {"type": "number", "minimum": 0}, "currency": {"type": "string"}}}',
    'A payment was completed'
),
(
    'payment.failed', 'transaction', 'transaction', '{userId}',
    '{"type": "object", "required": ["payment_id"], "properties": {"payment_id": {"type": "string"}, "amount": {"type": "number", "minimum": 0}, "reason": {"type": "string"}}}',
    'A payment failed'
),
(
    'profile.viewed', 'interaction', 'interaction', '{}',
    '{"type": "object", "required": ["profile_id"], "properties": {"profile_id": {"type": "string"}}}',
    'A profile was looked at'
),
(
    'search.performed', 'interaction', 'interaction', '{}',
    '{"type": "object", "required": ["query"], "properties": {"query": {"type": "string"}, "filters": {"type": "object"}, "results_count": {"type": "integer", "minimum": 0}, "search_time_ms": {"type": "number", "minimum": 0}}}',
    'A search was made'
),
('filter.applied', 'interaction', 'interaction', '{}', '{"type": "object"}', 'A filter was applied'),
('message.sent', 'interaction', 'interaction', '{userId}', '{"type": "object"}', 'A message was sent'),
('notification.clicked', 'interaction', 'interaction', '{}', '{"type": "object"}', 'A notification was clicked'),
(
    'user.login', 'user_activity', 'user_activity', '{userId}',
    '{"type": "object", "properties": {"method": {"type": "string"}}}', 'Somebody logged in'
),
('user.logout', 'user_activity', 'user_activity', '{userId}', '{"type": "object"}', 'Somebody logged out'),
('session.started', 'user_activity', 'user_activity', '{}', '{"type": "object"}', 'A session began'),
('password.changed', 'user_activity', 'user_activity', '{userId}', '{"type": "object"}', 'A password was changed'),
('mfa.enabled', 'user_activity', 'user_activity', '{userId}', '{"type": "object"}', 'Multi-factor login was enabled'),
(
    'review.posted', 'content', 'content', '{userId}',
    '{"type": "object", "required": ["review_id"], "properties": {"review_id": {"type": "string"}, "project_id": {"type": "string"}, "rating": {"type": "number", "minimum": 0, "maximum": 5}}}',
    'A review was posted'
),
('portfolio.created', 'content', 'content', '{userId}', '{"type": "object"}', 'A portfolio was created'),
('profile.updated', 'content', 'content', '{userId}', '{"type": "object"}', 'A profile was changed');
