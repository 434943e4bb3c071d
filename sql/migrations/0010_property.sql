-- Served tables of the property domain: macro series, fundamentals, comparable sales, predictions and their accuracy.

create schema if not exists property;

grant usage on schema property to pipeline_worker, pipeline_reader, pipeline_intake;
alter default privileges in schema property
grant select, insert, update, delete on tables to pipeline_worker;
alter default privileges in schema property grant usage, select on sequences to pipeline_worker;
alter default privileges in schema property grant select on tables to pipeline_reader, pipeline_intake;

do $$
begin
    execute format(
        'alter database %I set search_path = market, property, events, operations, public', current_database()
    );
end
$$;

create table property.macro_observations (
    series_id text not null check (series_id ~ '^[A-Za-z0-9_.-]{1,64}$'),
    observation_date date not null,
    vintage_date date not null,
    confirmed_date date not null,
    value double precision check (value > '-infinity' and value < 'infinity'),
    source text not null,
    received_at timestamptz not null,
    primary key (series_id, observation_date, vintage_date),
    check (vintage_date <= confirmed_date)
);
create index macro_observations_confirmed on property.macro_observations (confirmed_date);

-- Missing values are NULL. A revision is a new vintage; the one confirmed last is the value today.
create view property.macro_latest with (security_invoker = true) as
select distinct on (series_id, observation_date)
    series_id,
    observation_date,
    value,
    vintage_date,
    confirmed_date,
    source,
    received_at
from property.macro_observations
order by series_id asc, observation_date asc, confirmed_date desc, received_at desc;
grant select on property.macro_latest to pipeline_intake, pipeline_reader, pipeline_worker;

create table property.fundamentals (
    market_slug text not null check (market_slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    metric text not null,
    as_of_date date not null,
    value double precision not null check (value > '-infinity' and value < 'infinity'),
    unit text not null,
    source text not null,
    revision integer not null check (revision >= 1),
    revised_at timestamptz not null,
    received_at timestamptz not null,
    provenance jsonb not null,
    primary key (market_slug, metric, as_of_date)
);
create index fundamentals_as_of on property.fundamentals (as_of_date);

create table property.fundamentals_revisions (
    market_slug text not null,
    metric text not null,
    as_of_date date not null,
    revision integer not null check (revision >= 1),
    value double precision not null,
    unit text not null,
    source text not null,
    revised_at timestamptz not null,
    received_at timestamptz not null,
    provenance jsonb not null,
    primary key (market_slug, metric, as_of_date, revision)
);
comment on table property.fundamentals_revisions is
'One row per value that a fundamental ever had, the current one included: what it was, who said so first and when. '
'Numbered as we learned them: a value that came late has a higher number than the one that is current.';

create table property.fundamentals_staleness (
    market_slug text not null,
    last_as_of_date date not null,
    last_received_at timestamptz not null,
    age_days integer not null,
    max_age_days integer not null,
    is_stale boolean not null,
    metric_count integer not null check (metric_count >= 1),
    checked_at timestamptz not null,
    primary key (market_slug)
);

create table property.comps (
    source text not null,
    comp_id text not null check (length(comp_id) between 1 and 200),
    market_slug text not null check (market_slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    property_type text not null check (property_type <> ''),
    sale_date date not null,
    sale_price_usd double precision not null check (sale_price_usd > 0 and sale_price_usd < 'infinity'),
    living_area_sqft double precision check (living_area_sqft > 0 and living_area_sqft < 'infinity'),
    bedrooms double precision check (bedrooms between 0 and 1000),
    bathrooms double precision check (bathrooms between 0 and 1000),
    lot_sqft double precision check (lot_sqft >= 0 and lot_sqft < 'infinity'),
    year_built integer check (year_built between 1500 and 2200),
    latitude double precision check (latitude between -90 and 90),
    longitude double precision check (longitude between -180 and 180),
    address text,
    revision integer not null check (revision >= 1),
    revised_at timestamptz not null,
    received_at timestamptz not null,
    provenance jsonb not null,
    primary key (source, comp_id),
    check ((latitude is null) = (longitude is null))
);
create index comps_market on property.comps (market_slug, property_type, sale_date);
create index comps_sale_date on property.comps (sale_date);

create table property.comps_revisions (
    source text not null,
    comp_id text not null,
    revision integer not null check (revision >= 1),
    comp jsonb not null,
    revised_at timestamptz not null,
    received_at timestamptz not null,
    provenance jsonb not null,
    primary key (source, comp_id, revision)
);
comment on table property.comps_revisions is
'One row per state that a comparable sale ever had, the current one included: all its columns as JSON, who said so and '
'when.';

create table property.predictions (
    prediction_id text not null check (length(prediction_id) = 32),
    market_slug text not null,
    property_type text not null,
    subject_id text not null,
    subject jsonb not null,
    valuation_date date not null,
    estimate_usd double precision check (estimate_usd > 0 and estimate_usd < 'infinity'),
    low_usd double precision check (low_usd > 0),
    high_usd double precision check (high_usd < 'infinity'),
    comp_count integer not null check (comp_count >= 0),
    dispersion_ratio double precision check (dispersion_ratio >= 0 and dispersion_ratio < 'infinity'),
    confidence_ratio double precision not null check (confidence_ratio between 0 and 1),
    filter_step integer check (filter_step >= 1),
    time_adjustment text not null check (time_adjustment in ('index', 'trend', 'none')),
    is_out_of_sample boolean not null,
    sale_price_usd double precision check (sale_price_usd > 0 and sale_price_usd < 'infinity'),
    subject_revision integer,
    method_version text not null,
    made_at timestamptz not null,
    job_id text,
    primary key (prediction_id),
    check (low_usd <= estimate_usd and estimate_usd <= high_usd),
    check ((estimate_usd is null) = (comp_count = 0)),
    check ((estimate_usd is null) = (low_usd is null) and (estimate_usd is null) = (high_usd is null)),
    check (is_out_of_sample <= (sale_price_usd is not null and subject_revision is not null))
);
create index predictions_market on property.predictions (market_slug, made_at) where is_out_of_sample;
create index predictions_made on property.predictions (made_at);
create index predictions_out_of_sample on property.predictions (subject_id, method_version) where is_out_of_sample;

-- What a job has predicted is its owner's, who reads it in the job's output.
alter table property.predictions enable row level security;
alter table property.predictions force row level security;
create policy workers_see_all on property.predictions to pipeline_worker using (true) with check (true);
create policy owner_sees_all on property.predictions to current_user using (true) with check (true);
create policy readers_see_sales on property.predictions for select to pipeline_reader, pipeline_intake using (
    is_out_of_sample
);

create table property.prediction_accuracy (
    as_of_date date not null,
    market_slug text not null,
    property_type text not null,
    method_version text not null,
    window_days integer not null check (window_days > 0),
    prediction_count integer not null check (prediction_count >= 0),
    valued_count integer not null check (valued_count between 0 and prediction_count),
    mdape_ratio double precision check (mdape_ratio >= 0 and mdape_ratio < 'infinity'),
    ppe10_ratio double precision check (ppe10_ratio between 0 and 1),
    ppe20_ratio double precision check (ppe20_ratio between 0 and 1),
    bias_ratio double precision,
    error_stddev_ratio double precision check (error_stddev_ratio >= 0),
    primary key (as_of_date, market_slug, property_type, method_version)
);
