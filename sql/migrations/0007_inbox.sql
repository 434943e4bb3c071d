-- The inbox: every webhook and dropped file that was accepted, once, with who signed it and what became of it.

create table operations.deliveries (
    delivery_id uuid primary key default gen_random_uuid(),
    source text not null check (length(source) between 1 and 100),
    idempotency_key text not null check (length(idempotency_key) between 1 and 300),
    event_type text not null check (length(event_type) between 1 and 200),
    market_slug text check (length(market_slug) between 1 and 100),
    payload jsonb not null,
    status text not null default 'pending' check (status in ('pending', 'processed', 'rejected', 'dead')),
    reason text,
    received_at timestamptz not null default clock_timestamp(),
    settled_at timestamptz,
    scheme text not null check (scheme in ('sha256', 'standard', 'file')),
    signed_by text not null,
    signed_at timestamptz,
    origin text not null default 'http',
    request_id text,
    attempt_count integer not null default 0 check (attempt_count >= 0),
    next_attempt_at timestamptz not null default clock_timestamp(),
    replay_count integer not null default 0 check (replay_count >= 0),
    replayed_by text,
    dagster_run_id text,
    unique (source, idempotency_key),
    check ((status = 'pending') = (settled_at is null)),
    check ((status in ('rejected', 'dead')) <= (reason is not null))
);
comment on table operations.deliveries is
'One row per webhook or dropped file that was accepted: what was sent, which key signed it and when, what became of it. '
'`rejected` ones were signed and wrong, `dead` ones could not be applied; both keep the reason and can be replayed.';

create index deliveries_pending on operations.deliveries (received_at, delivery_id) where status = 'pending';
create index deliveries_refused on operations.deliveries (received_at, delivery_id) where status in ('rejected', 'dead');
create index deliveries_received on operations.deliveries (received_at, delivery_id);

create table operations.delivery_sources (
    source text primary key,
    first_received_at timestamptz not null default clock_timestamp(),
    last_received_at timestamptz not null default clock_timestamp(),
    by_webhook boolean not null default true
);
comment on table operations.delivery_sources is
'One row per source that ever delivered, with when it last did: one that came by webhook and falls silent raises an '
'alert, one that only dropped files does if WEBHOOK_SILENCE names it.';

-- Row-level security: workers see all; the HTTP intake adds through operations.accept_deliveries and sees none, unless an
-- operator asks.
alter table operations.deliveries enable row level security;
alter table operations.deliveries force row level security;
create policy workers_see_all on operations.deliveries to pipeline_worker using (true) with check (true);
create policy owner_sees_all on operations.deliveries to current_user using (true) with check (true);
create policy readers_see_all on operations.deliveries for select to pipeline_reader using (true);
create policy operators_see_all on operations.deliveries to pipeline_intake
using ((select current_setting('app.scope', true)) = 'operator')
with check ((select current_setting('app.scope', true)) = 'operator');

-- what was sent and who signed it are nobody's to change; a replay changes what becomes of it
grant select on operations.deliveries to pipeline_intake;
grant update (
    event_type, market_slug, status, reason, settled_at, attempt_count, next_attempt_at, replay_count, replayed_by
) on operations.deliveries to pipeline_intake;
