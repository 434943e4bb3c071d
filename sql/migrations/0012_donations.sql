-- Donations by Stripe: what is known of each payment's objects, the donation that it makes, the days that have changed.

create schema if not exists community;

grant usage on schema community to pipeline_worker, pipeline_reader, pipeline_intake;

do $$
begin
    execute format(
        'alter database %I set search_path = market, property, sales, community, events, operations, public',
        current_database()
    );
end
$$;

create table community.donation_facts (
    payment_intent text collate "C" not null check (payment_intent <> ''),
    object_type text not null check (
        object_type in ('checkout.session', 'payment_intent', 'charge', 'refund', 'dispute')
    ),
    object_id text collate "C" not null check (object_id <> ''),
    event_id text collate "C" not null check (event_id <> ''),
    event_created timestamptz not null,
    event_rank bigint not null check (event_rank >= 0),
    event_type text not null,
    is_live boolean not null,
    is_anonymous boolean not null,
    settled_at timestamptz,
    state jsonb not null check (jsonb_typeof(state) = 'object'),
    primary key (payment_intent, object_type, object_id)
);
comment on table community.donation_facts is
'One row per object of Stripe that belongs to a payment: its last state, by the greatest of event_created, event_rank '
'(of two states of one second the one that comes later in its life) and event_id. Of all its states: is_anonymous once '
'any asked for it, nothing of the donor is kept then; settled_at, the first that said that a payment intent or session is '
'paid, or that a refund gives nothing back.';

create table community.forgotten_payments (
    payment_intent text collate "C" primary key check (payment_intent <> ''),
    forgets_donor boolean not null,
    forgets_author boolean not null,
    forgotten_at timestamptz not null default clock_timestamp()
);
comment on table community.forgotten_payments is
'One row per payment whose donor or author was erased: whatever Stripe says of it later is stored without them.';

create table community.donations (
    payment_intent text collate "C" primary key check (payment_intent <> ''),
    rule_id text check (rule_id <> ''),
    author_id text check (author_id <> ''),
    author_is_rules boolean not null default false,
    donor_id text check (donor_id <> ''),
    is_anonymous boolean not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    received numeric not null check (received >= 0),
    refunded numeric not null check (refunded >= 0),
    disputed numeric not null check (disputed >= 0),
    net numeric not null generated always as (received - refunded - disputed) stored check (net >= 0),
    status text not null check (
        status in ('pending', 'paid', 'failed', 'refunded', 'partially_refunded', 'disputed', 'lost')
    ),
    dispute_status text,
    donor_name text,
    message text,
    paid_at timestamptz,
    paid_on date generated always as ((paid_at at time zone 'UTC')::date) stored,
    is_live boolean not null,
    updated_at timestamptz not null default clock_timestamp(),
    check ((status in ('pending', 'failed')) = (paid_at is null)),
    check (paid_at is not null or received = 0),
    check (not is_anonymous or (donor_id is null and donor_name is null))
);
comment on table community.donations is
'One row per payment intent of Stripe. received only once it is paid; net = received - refunded - disputed, where a '
'dispute counts while it is open and when it is lost. Amounts are in units of the currency, not in cents.';
create index donations_paid on community.donations (paid_on, author_id);
create index donations_paid_at on community.donations (paid_at);
create index donations_without_author on community.donations (rule_id) where author_id is null and rule_id is not null;

create table community.dirty_days (
    table_name text not null check (table_name <> ''),
    day date not null,
    reason text not null,
    changes bigint not null default 1 check (changes >= 1),
    marked_at timestamptz not null default clock_timestamp(),
    primary key (table_name, day)
);
comment on table community.dirty_days is
'One row per table of the community and UTC day of it that has changed and is not yet reported as built again. Whoever '
'has reported it deletes the row, unless marked_at has moved on.';

grant select, insert, update, delete on
community.donation_facts, community.donations, community.dirty_days to pipeline_worker;
grant select, insert, update on community.forgotten_payments to pipeline_worker;
-- figures, not people
grant select (
    payment_intent, rule_id, author_id, author_is_rules, is_anonymous, currency, received, refunded, disputed, net, status,
    dispute_status, paid_at, paid_on, is_live, updated_at
) on community.donations to pipeline_reader;

-- Row-level security: workers see all, readers the columns above; the HTTP intake has no business here.
do $$
declare
    table_name text;
begin
    foreach table_name in array array['donation_facts', 'donations', 'forgotten_payments'] loop
        execute format('alter table community.%I enable row level security', table_name);
        execute format('alter table community.%I force row level security', table_name);
        execute format(
            'create policy workers_see_all on community.%I to pipeline_worker using (true) with check (true)', table_name
        );
        execute format(
            'create policy owner_sees_all on community.%I to current_user using (true) with check (true)', table_name
        );
    end loop;
end
$$;
create policy readers_see_all on community.donations for select to pipeline_reader using (true);
