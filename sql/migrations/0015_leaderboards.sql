-- Leaderboards, and what authors are told: an outbox of notifications, and what each person wants to be told.

create schema if not exists community;

grant usage on schema community to pipeline_worker, pipeline_reader, pipeline_intake;

create table community.leaderboard_snapshots (
    day date not null,
    period text not null check (period in ('DAILY', 'WEEKLY', 'MONTHLY', 'ALL_TIME')),
    kind text not null check (kind in ('RULE', 'AUTHOR')),
    scope text not null check (scope in ('GLOBAL', 'TAG', 'MODEL')),
    scope_value text collate "C" not null,
    rank integer not null check (rank between 1 and 100),
    subject_id text collate "C" not null check (subject_id <> ''),
    score double precision not null check (score > 0 and score < 'infinity'),
    points double precision not null check (points > '-infinity' and points < 'infinity'),
    views bigint not null check (views >= 0),
    previous_rank integer check (previous_rank between 1 and 100),
    rank_change integer,
    primary key (day, period, kind, scope, scope_value, rank),
    -- two may change places in one statement
    unique (day, period, kind, scope, scope_value, subject_id) deferrable,
    check ((scope = 'GLOBAL') = (scope_value = '')),
    check (rank_change is not distinct from previous_rank - rank)
);
comment on table community.leaderboard_snapshots is
'One row per place on a board of a UTC day, the first hundred of each. rank_change is the number of places won since the '
'board''s newest earlier snapshot; null: new among the first hundred. Boards of tags and models are kept for 400 days.';
-- every board has a first place: the days of a board, and the days with boards that are removed after a while
create index leaderboard_snapshots_days on community.leaderboard_snapshots (scope, scope_value, period, kind, day)
where rank = 1;
create index leaderboard_snapshots_labelled on community.leaderboard_snapshots (day) where rank = 1 and scope <> 'GLOBAL';
create index leaderboard_snapshots_authors on community.leaderboard_snapshots (subject_id) where kind = 'AUTHOR';
grant select, insert, update, delete on community.leaderboard_snapshots to pipeline_worker;
grant select on community.leaderboard_snapshots to pipeline_reader, pipeline_intake;

create table community.notification_preferences (
    person_id text primary key check (length(person_id) between 1 and 300),
    target text check (length(target) between 1 and 2000),
    has_target boolean not null generated always as (target is not null) stored,
    kinds jsonb not null default '["new_donation", "leaderboard_entry", "milestone"]'
    check (kinds <@ '["new_donation", "leaderboard_entry", "milestone"]'),
    digest text not null default 'none' check (digest in ('none', 'daily', 'weekly')),
    is_muted boolean not null default false,
    updated_at timestamptz not null default clock_timestamp()
);
comment on table community.notification_preferences is
'One row per person who has said what they want to be told. `target` is where, as Apprise spells it: it holds a key, the '
'HTTP process writes it (community.set_notification_preferences) and never reads it.';

create table community.notifications (
    id uuid primary key default gen_random_uuid(),
    idempotency_key text not null unique check (length(idempotency_key) between 1 and 500),
    person_id text not null check (length(person_id) between 1 and 300),
    kind text not null check (kind in ('new_donation', 'leaderboard_entry', 'milestone')),
    payload jsonb not null check (jsonb_typeof(payload) = 'object'),
    created_at timestamptz not null,
    due_at timestamptz,
    digest text not null check (digest in ('none', 'daily', 'weekly')),
    batch_id uuid,
    lease_until timestamptz,
    attempts integer not null default 0 check (attempts >= 0),
    last_error text,
    sent_at timestamptz,
    given_up_at timestamptz,
    check (num_nonnulls(due_at, sent_at, given_up_at) <= 1),
    check (lease_until is null or due_at is not null)
);
comment on table community.notifications is
'One row per thing that an author is told. With due_at it is to be sent then; without, it was sent, given up, or is only '
'there to be read, because the person has no target, is muted or does not want this kind. Rows of one batch_id are one '
'message, the same one whenever it is tried again.';
create index notifications_due on community.notifications (due_at) where due_at is not null;
create index notifications_person on community.notifications (person_id, created_at desc, id desc);
create index notifications_over on community.notifications (created_at) where due_at is null;

grant select, insert, update, delete on community.notifications, community.notification_preferences to pipeline_worker;

-- Row-level security: workers see all; the HTTP intake what belongs to the person whose request it answers.
do $$
declare
    table_name text;
begin
    foreach table_name in array array['notifications', 'notification_preferences'] loop
        execute format('alter table community.%I enable row level security', table_name);
        execute format('alter table community.%I force row level security', table_name);
        execute format(
            'create policy workers_see_all on community.%I to pipeline_worker using (true) with check (true)', table_name
        );
        execute format(
            'create policy owner_sees_all on community.%I to current_user using (true) with check (true)', table_name
        );
        execute format(
            'create policy callers_see_theirs on community.%I for select to pipeline_intake '
            'using (person_id = nullif((select current_setting(''app.user_id'', true)), ''''))', table_name
        );
    end loop;
end
$$;
grant select (id, person_id, kind, payload, created_at, due_at, digest, sent_at, given_up_at)
on community.notifications to pipeline_intake;
grant select (person_id, has_target, kinds, digest, is_muted, updated_at)
on community.notification_preferences to pipeline_intake;
