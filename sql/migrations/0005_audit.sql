-- Who did what to whose data; erasure as a request that is executed; how long each type of event is kept.

create table operations.audit_log (
    audit_id bigint generated always as identity primary key,
    occurred_at timestamptz not null default clock_timestamp(),
    actor text not null check (actor <> ''),
    action text not null check (action <> ''),
    subject_digest text check (subject_digest ~ '^[0-9a-f]{64}$'),
    request_id text,
    details jsonb not null default '{}'
);
comment on table operations.audit_log is
'One row per sensitive action: who did what, when, in which request, about whom. The person is the SHA-256 of their id, '
'which proves that something was done to somebody who is named, and names nobody. Rows are added and never changed.';

create index audit_log_subject on operations.audit_log (subject_digest) where subject_digest is not null;

revoke update, delete on operations.audit_log from pipeline_worker;
-- these name people and callers: whoever reads figures has no need of them
revoke select on operations.audit_log, operations.rejects, operations.api_requests, operations.app_tokens
from pipeline_reader;
grant insert on operations.audit_log to pipeline_intake;

create table events.erasure_requests (
    erasure_id uuid primary key default gen_random_uuid(),
    user_id text check (length(user_id) between 1 and 200),
    user_digest text not null,
    mode text not null check (mode in ('erase', 'anonymise')),
    status text not null default 'requested' check (status in ('requested', 'completed')),
    requested_by text not null,
    request_id text,
    requested_at timestamptz not null default clock_timestamp(),
    completed_at timestamptz,
    removed jsonb not null default '{}',
    days date[] not null default '{}',
    attempt_count integer not null default 0 check (attempt_count >= 0),
    next_attempt_at timestamptz not null default clock_timestamp(),
    error_message text,
    check ((status = 'completed') = (user_id is null)),
    check ((status = 'completed') = (completed_at is not null))
);
comment on table events.erasure_requests is
'One row per request to erase or anonymise a person: what was removed where, which days of the lake it changed. The '
'person''s id is there only until the request is completed, then only its SHA-256. One that fails is tried again at '
'next_attempt_at, after 1, 2, 4 … 60 minutes.';

create unique index erasure_requests_open on events.erasure_requests (user_id, mode) where status = 'requested';

grant select (erasure_id, mode, status, requested_at, completed_at, removed, error_message) on events.erasure_requests
to pipeline_intake;

create table events.changed_days (
    day date primary key,
    reason text not null,
    changed_at timestamptz not null default clock_timestamp()
);
comment on table events.changed_days is
'One row per UTC day of the event history that has lost rows and whose derived figures are to be built again. Whoever '
'has seen to that deletes the row, unless changed_at has moved on.';

create view events.event_retention with (security_invoker = true) as
select
    schemas.event_type,
    max(classes.kept_for) as kept_for
from events.event_schemas as schemas
inner join events.retention_classes as classes on schemas.retention_class = classes.retention_class
group by schemas.event_type;
comment on view events.event_retention is
'One row per event type: how long its events are kept, the longest of its versions.';

grant select on events.event_retention to pipeline_intake, pipeline_reader;
