-- Alerts as an outbox: what is wrong, since when, what is to be said about it, and who has been told.

create table operations.alerts (
    alert_id uuid primary key default gen_random_uuid(),
    alert_key text not null check (length(alert_key) between 1 and 300),
    severity text not null check (severity in ('info', 'warning', 'error', 'critical')),
    message text not null check (message <> ''),
    context jsonb not null default '{}' check (jsonb_typeof(context) = 'object'),
    is_lasting boolean not null,
    first_raised_at timestamptz not null,
    last_raised_at timestamptz not null,
    raised_count integer not null default 1 check (raised_count >= 1),
    cleared_at timestamptz,
    resolved_at timestamptz,
    notice text default 'alert' check (notice in ('alert', 'reminder', 'recovery')),
    notice_at timestamptz,
    lease_until timestamptz,
    reached text[] not null default '{}',
    failure_count integer not null default 0 check (failure_count >= 0),
    failure text,
    noticed_count integer not null default 0 check (noticed_count >= 0),
    notified_at timestamptz,
    notified_severity text check (notified_severity in ('info', 'warning', 'error', 'critical')),
    recovery_notified_at timestamptz,
    check (last_raised_at >= first_raised_at),
    check ((notice is null) = (notice_at is null)),
    check (lease_until is null or notice is not null),
    check (case when resolved_at is null then notice is not null and notice <> 'recovery' else notice = 'recovery' end),
    check (recovery_notified_at is null or resolved_at is not null)
);
comment on table operations.alerts is
'One row per alert from when it is raised until it is resolved; raised again meanwhile, it is counted, not repeated. '
'`notice` is what is to be said about it next and notice_at when, `reached` who has been told it already; '
'operations_alerts_sensor says it. A condition that is over is cleared, and resolved once it has stayed so.';

create unique index alerts_open on operations.alerts (alert_key) where resolved_at is null;
create index alerts_due on operations.alerts (notice_at) where notice_at is not null;
create index alerts_resolved on operations.alerts (resolved_at) where resolved_at is not null;

revoke select on operations.alerts from pipeline_reader;
