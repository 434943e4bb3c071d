-- Work that a person, a cron or another job asked for: one row a job, one an attempt. docs/jobs.md draws the states.

create table operations.jobs (
    job_id uuid primary key default gen_random_uuid(),
    job_type text not null check (job_type ~ '^[a-z][a-z0-9_]{0,62}$'),
    status text not null default 'QUEUED'
    check (status in ('QUEUED', 'RUNNING', 'RETRYING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    market_slug text check (market_slug <> ''),
    input_data jsonb not null default '{}' check (jsonb_typeof(input_data) = 'object'),
    output_data jsonb,
    owner_id text not null check (length(owner_id) between 1 and 220),
    request_id text,
    unique_key text check (length(unique_key) between 1 and 300),
    priority smallint not null default 0,
    attempt_count integer not null default 0 check (attempt_count >= 0),
    max_attempts integer not null default 3 check (max_attempts between 1 and 1000),
    postponed_count integer not null default 0 check (postponed_count >= 0),
    run_at timestamptz not null default clock_timestamp(),
    worker text,
    dagster_run_id text,
    lease_until timestamptz,
    cancel_requested_at timestamptz,
    error_kind text check (error_kind in ('transient', 'permanent', 'lost')),
    error_message text,
    processing_time_ms double precision check (processing_time_ms >= 0),
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    updated_at timestamptz not null default clock_timestamp(),
    check (attempt_count <= max_attempts),
    check ((status = 'RUNNING') = (lease_until is not null)),
    check ((status = 'RUNNING') <= (worker is not null and started_at is not null)),
    check ((status in ('COMPLETED', 'FAILED', 'CANCELLED')) = (finished_at is not null)),
    check ((status = 'COMPLETED') >= (output_data is not null)),
    check ((status in ('RETRYING', 'FAILED')) <= (error_message is not null))
);
comment on table operations.jobs is
'One row per job: what is asked for, by whom, where it stands. Changes of status go through the functions '
'operations.*_job(s); a trigger refuses every other one than docs/jobs.md draws.';

create unique index jobs_unique_key on operations.jobs (owner_id, job_type, unique_key)
where status in ('QUEUED', 'RUNNING', 'RETRYING') and unique_key is not null;
create index jobs_due on operations.jobs (priority desc, run_at, created_at)
where status in ('QUEUED', 'RETRYING');
create index jobs_running on operations.jobs (job_type, lease_until) where status = 'RUNNING';
create index jobs_finished on operations.jobs (finished_at) where finished_at is not null;
create index jobs_owner on operations.jobs (owner_id, created_at);
create index jobs_created on operations.jobs (created_at);

create table operations.job_attempts (
    attempt_id bigint generated always as identity primary key,
    job_id uuid not null references operations.jobs (job_id) on delete cascade,
    attempt integer not null check (attempt >= 1),
    worker text not null,
    dagster_run_id text,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    outcome text check (outcome in ('completed', 'retrying', 'failed', 'postponed', 'cancelled', 'lost')),
    error_kind text check (error_kind in ('transient', 'permanent', 'lost')),
    error_message text,
    check ((outcome is null) = (finished_at is null))
);
comment on table operations.job_attempts is
'One row per time that a worker took a job: when, in which Dagster run, and how it ended. A postponed one is not counted '
'as an attempt and has the number of the next.';

create index job_attempts_job on operations.job_attempts (job_id, attempt_id);
create unique index job_attempts_open on operations.job_attempts (job_id) where finished_at is null;

-- Row-level security: workers see all; the HTTP intake the jobs of the caller whose request it answers.
alter table operations.jobs enable row level security;
alter table operations.jobs force row level security;
create policy workers_see_all on operations.jobs to pipeline_worker using (true) with check (true);
create policy owner_sees_all on operations.jobs to current_user using (true) with check (true);
create policy readers_see_all on operations.jobs for select to pipeline_reader using (true);
create policy callers_see_theirs on operations.jobs for select to pipeline_intake using (
    case
        when (select current_setting('app.scope', true)) = 'operator' then true
        else owner_id = nullif((select current_setting('app.user_id', true)), '')
    end
);
create policy callers_add_theirs on operations.jobs for insert to pipeline_intake with check (
    owner_id = nullif((select current_setting('app.user_id', true)), '')
);
alter table operations.job_attempts enable row level security;
alter table operations.job_attempts force row level security;
create policy workers_see_all on operations.job_attempts to pipeline_worker using (true) with check (true);
create policy owner_sees_all on operations.job_attempts to current_user using (true) with check (true);
create policy readers_see_all on operations.job_attempts for select to pipeline_reader using (true);
create policy callers_see_theirs on operations.job_attempts for select to pipeline_intake using (
    exists (
        select from operations.jobs
        where jobs.job_id = job_attempts.job_id
    )
);

grant select, insert on operations.jobs to pipeline_intake;
grant select on operations.job_attempts to pipeline_intake;
