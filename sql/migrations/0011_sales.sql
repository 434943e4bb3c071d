-- Author sales: one ledger of four platforms, the reports it came from, payments beside it, exchange rates.

create schema if not exists sales;

grant usage on schema sales to pipeline_worker, pipeline_reader, pipeline_intake;
alter default privileges in schema sales
grant select, insert, update, delete on tables to pipeline_worker;
alter default privileges in schema sales grant usage, select on sequences to pipeline_worker;
alter default privileges in schema sales grant select on tables to pipeline_reader;

do $$
begin
    execute format(
        'alter database %I set search_path = market, property, sales, events, operations, public', current_database()
    );
end
$$;

create table sales.report_files (
    owner_id text not null,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    platform text not null check (platform in ('amazon_kdp', 'gumroad', 'draft2digital', 'smashwords')),
    name text not null,
    size_bytes bigint not null check (size_bytes >= 0),
    status text not null default 'received' check (status in ('received', 'ingested', 'quarantined')),
    report text,
    period_start date,
    period_end date,
    is_final boolean,
    is_whole boolean,
    parts text[] not null default '{}',
    is_by_day boolean,
    reason text,
    row_count integer check (row_count >= 0),
    problem_count integer check (problem_count >= 0),
    problems jsonb not null default '[]',
    skipped jsonb not null default '[]',
    totals jsonb not null default '{}',
    exported_at timestamptz not null default clock_timestamp(),
    received_at timestamptz not null default clock_timestamp(),
    settled_at timestamptz,
    job_id uuid,
    primary key (owner_id, platform, sha256),
    check ((status = 'received') = (settled_at is null)),
    check ((status = 'quarantined') <= (reason is not null)),
    check (period_start <= period_end),
    check (period_start >= '2000-01-01' and period_end < '2100-01-01')
);
comment on table sales.report_files is
'One row per report file and owner: the original is kept once under its SHA-256; what it was recognised as, how many '
'rows it gave, which it could not read, or why it is in quarantine. Of two reports that say the same, the one that was '
'exported last is right. is_whole: every row was read, and of KDP it has the sheets of '
'e-books and of pages or the one of all. parts: what a report of KDP has sheets of, empty ones too. is_by_day: no row of it '
'states more than a day.';
create index report_files_period on sales.report_files (owner_id, platform, period_start);

create table sales.sales_events (
    owner_id text not null check (owner_id <> ''),
    platform text not null check (platform in ('amazon_kdp', 'gumroad', 'draft2digital', 'smashwords')),
    natural_key text collate "C" not null check (length(natural_key) = 64 and natural_key ~ '^[0-9a-f]+$'),
    storefront text not null,
    country text check (country ~ '^[A-Z]{2}$'),
    title_id text not null,
    edition_id text,
    title text not null,
    author text,
    format text not null check (format in ('ebook', 'paperback', 'hardcover', 'audiobook', 'other')),
    kind text not null check (kind in ('sale', 'refund', 'free', 'pages_read', 'adjustment')),
    transaction_type text,
    royalty_type text,
    units_sold integer not null,
    units_refunded integer not null,
    net_units integer not null,
    pages_read integer not null default 0 check (pages_read >= 0),
    list_price numeric(24, 8),
    offer_price numeric(24, 8),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    royalty numeric(24, 8),
    estimated_royalty numeric(24, 8) check (estimated_royalty is null or (royalty is null and kind = 'pages_read')),
    reported_usd numeric(24, 8),
    fx_rate numeric(24, 12) check (fx_rate > 0),
    fx_date date,
    royalty_usd numeric(24, 8),
    period_start date not null,
    period_end date not null,
    is_final boolean not null,
    superseded_by text check (
        superseded_by in ('final_month', 'newer_export', 'other_sheet', 'draft2digital')
    ),
    source_report text not null,
    source_sha256 text not null,
    exported_at timestamptz not null,
    sheet text,
    row_number integer not null,
    job_id text,
    first_seen_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    primary key (owner_id, platform, natural_key),
    check (net_units = units_sold - units_refunded),
    check (period_start <= period_end),
    check (period_start >= '2000-01-01' and period_end < '2100-01-01'),
    check ((fx_rate is null) = (fx_date is null)),
    check ((royalty_usd is null) = (coalesce(royalty, estimated_royalty) is null or fx_rate is null))
);
comment on table sales.sales_events is
'One row per line of a platform''s report: units, prices and the author''s money in its own currency, with '
'where it stands in which file. Overlapping exports meet on the natural key. A row with superseded_by is kept and not '
'counted: a final month, a newer export, another sheet of KDP, or Draft2Digital says the same.';
create index sales_events_period on sales.sales_events (owner_id, platform, period_start);
-- the distributor Smashwords in Draft2Digital's reports: sales.supersede_smashwords asks for its days
create index sales_events_listed on sales.sales_events (owner_id, period_start)
where platform = 'draft2digital' and storefront ilike 'smashwords%';

-- freshness asks for the newest
create index sales_events_exported on sales.sales_events (exported_at);
-- sales.apply_rates asks for the rows that a rate is for
create index sales_events_rated on sales.sales_events (currency, period_end) where currency <> 'USD';

create table sales.ledger_months (
    owner_id text not null,
    platform text not null,
    month date not null check (extract(day from month) = 1),
    version bigint not null default 1,
    daily_version bigint not null default 0,
    monthly_version bigint not null default 0,
    primary key (owner_id, platform, month)
);
comment on table sales.ledger_months is
'One row per month of an owner''s ledger: how often it has changed, and which of these states the derived tables were '
'built from.';
create index ledger_months_changed on sales.ledger_months (owner_id, platform, month)
where daily_version <> version or monthly_version <> version;

create table sales.payments (
    owner_id text not null check (owner_id <> ''),
    platform text not null,
    natural_key text collate "C" not null check (length(natural_key) = 64 and natural_key ~ '^[0-9a-f]+$'),
    payment_id text,
    period_start date,
    period_end date,
    storefront text,
    detail text,
    source text,
    method text,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    accrued numeric(24, 8),
    tax_withheld numeric(24, 8),
    adjustments numeric(24, 8),
    net numeric(24, 8),
    payout_currency text check (payout_currency ~ '^[A-Z]{3}$'),
    fx_rate numeric(24, 12),
    payout_amount numeric(24, 8),
    status text,
    paid_on date,
    source_sha256 text not null,
    exported_at timestamptz not null,
    sheet text,
    row_number integer not null,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (owner_id, platform, natural_key)
);
comment on table sales.payments is
'One row per payment that a platform reports. Payments are never added to royalties: they are the same money, later.';

create table sales.kenp_rates (
    month date not null check (extract(day from month) = 1),
    storefront text not null check (storefront = lower(storefront)),
    rate numeric(24, 12) not null check (rate > 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    primary key (month, storefront)
);
comment on table sales.kenp_rates is
'What a page read of KDP was worth, by month and marketplace (in lower case), in its currency.';

create table sales.exchange_rates (
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    rate_date date not null,
    usd_per_unit numeric(24, 12) not null check (usd_per_unit > 0),
    source text not null,
    primary key (currency, rate_date)
);
create index exchange_rates_date on sales.exchange_rates (rate_date);
create table sales.rate_changes (
    currency text not null,
    rate_date date not null,
    primary key (currency, rate_date)
);
comment on table sales.rate_changes is
'Rates that are new or corrected and not yet applied to the ledger.';

create table sales.sales_daily (
    day date not null,
    period_days integer not null check (period_days >= 1),
    owner_id text not null,
    platform text not null,
    title_id text not null,
    format text not null,
    country text not null,
    title text not null,
    currency text not null,
    units_sold integer not null,
    units_refunded integer not null,
    net_units integer not null,
    free_units integer not null,
    pages_read integer not null,
    royalty numeric(24, 8),
    royalty_usd numeric(24, 8),
    row_count integer not null,
    is_final boolean not null,
    primary key (day, period_days, owner_id, platform, title_id, format, country, currency)
);
comment on table sales.sales_daily is
'One row per day, owner, platform, title, format, country and currency with sales. What a report states of a longer '
'period stands on its first day, with period_days.';

create table sales.sales_monthly (
    month date not null check (extract(day from month) = 1),
    owner_id text not null,
    platform text not null,
    title_id text not null,
    format text not null,
    country text not null,
    title text not null,
    currency text not null,
    units_sold integer not null,
    units_refunded integer not null,
    net_units integer not null,
    free_units integer not null,
    pages_read integer not null,
    royalty numeric(24, 8),
    royalty_usd numeric(24, 8),
    row_count integer not null,
    is_final boolean not null,
    primary key (month, owner_id, platform, title_id, format, country, currency)
);
comment on table sales.sales_monthly is
'One row per month, owner, platform, title, format, country and currency with sales.';

create table sales.coverage (
    month date not null check (extract(day from month) = 1),
    owner_id text not null,
    platform text not null,
    state text not null check (state in ('final', 'estimate', 'missing')),
    report_count integer not null check (report_count >= 0),
    row_count integer not null check (row_count >= 0),
    last_seen_at timestamptz,
    primary key (month, owner_id, platform)
);
comment on table sales.coverage is
'One row per month, owner and platform since the first report: final, estimate or missing. A final month without sales '
'is final, not missing.';

create table operations.cron_logs (
    cron_log_id bigint generated always as identity primary key,
    path text not null,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    processed_count integer check (processed_count >= 0),
    status text not null default 'running' check (status in ('running', 'success', 'failed')),
    error_message text,
    request_id text
);
comment on table operations.cron_logs is 'One row per call of a cron endpoint that works on jobs (seed S3).';
grant select, insert, update on operations.cron_logs to pipeline_intake;

-- seed S3's names and words for the jobs of its platforms
create view sales.ingestion_jobs with (security_invoker = true) as
select
    job_id as id,
    job_id,
    owner_id as user_id,
    input_data ->> 'platform' as platform,
    case status
        when 'QUEUED' then 'queued' when 'RUNNING' then 'processing' when 'RETRYING' then 'retrying'
        when 'COMPLETED' then 'completed' else 'failed'
    end as status,
    attempt_count as attempts,
    max_attempts,
    error_message,
    input_data as payload,
    output_data as result,
    created_at,
    updated_at,
    started_at,
    finished_at as completed_at
from operations.jobs
where job_type = 'platform_ingest';
create view sales.ingestion_attempts with (security_invoker = true) as
select
    attempts.attempt_id as id,
    attempts.job_id,
    attempts.attempt as attempt_number,
    coalesce(attempts.outcome, 'processing') as status,
    attempts.error_message,
    attempts.started_at,
    attempts.finished_at as completed_at
from operations.job_attempts as attempts
inner join operations.jobs as jobs on attempts.job_id = jobs.job_id
where jobs.job_type = 'platform_ingest';
grant select on sales.ingestion_jobs, sales.ingestion_attempts to pipeline_intake, pipeline_reader, pipeline_worker;

-- Row-level security: workers see all; the HTTP intake what belongs to the caller whose request it answers.
do $$
declare
    table_name text;
begin
    foreach table_name in array array['report_files', 'sales_events', 'payments'] loop
        execute format('alter table sales.%I enable row level security', table_name);
        execute format('alter table sales.%I force row level security', table_name);
        execute format(
            'create policy workers_see_all on sales.%I to pipeline_worker using (true) with check (true)', table_name
        );
        execute format(
            'create policy owner_sees_all on sales.%I to current_user using (true) with check (true)', table_name
        );
        execute format('create policy readers_see_all on sales.%I for select to pipeline_reader using (true)', table_name);
        execute format(
            'create policy callers_see_theirs on sales.%I for select to pipeline_intake '
            'using (owner_id = nullif((select current_setting(''app.user_id'', true)), ''''))', table_name
        );
    end loop;
end
$$;
create policy callers_add_theirs on sales.report_files for insert to pipeline_intake with check (
    owner_id = nullif((select current_setting('app.user_id', true)), '')
);
grant select, insert on sales.report_files to pipeline_intake;
grant select on sales.sales_events, sales.payments to pipeline_intake;
