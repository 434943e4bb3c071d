-- Generated from sql/migrations and sql/functions: python -m ingestion_pipeline_tests.sql.schema

CREATE SCHEMA market;

ALTER SCHEMA market OWNER TO postgres;

CREATE SCHEMA operations;

ALTER SCHEMA operations OWNER TO postgres;

CREATE FUNCTION operations.breaker_before_call(breaker_name text, probe_lease interval) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'operations', 'pg_temp'
    AS $$
declare
    refused_until timestamptz;
begin
    update operations.circuit_breakers
    set state = 'half_open', retry_at = clock_timestamp() + probe_lease, changed_at = clock_timestamp()
    where name = breaker_name and state <> 'closed' and retry_at <= clock_timestamp();
    if found then
        return null;
    end if;
    select retry_at into refused_until
    from operations.circuit_breakers
    where name = breaker_name and state <> 'closed';
    return refused_until;
end
$$;

ALTER FUNCTION operations.breaker_before_call(breaker_name text, probe_lease interval) OWNER TO postgres;

CREATE FUNCTION operations.breaker_record(breaker_name text, succeeded boolean, threshold integer, pause interval) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'operations', 'pg_temp'
    AS $$
begin
    if succeeded then
        update operations.circuit_breakers
        set state = 'closed', failure_count = 0, opened_at = null, retry_at = null, changed_at = clock_timestamp()
        where name = breaker_name and (state <> 'closed' or failure_count > 0);
        return;
    end if;
    insert into operations.circuit_breakers as breaker (name, failure_count)
    values (breaker_name, 1)
    on conflict (name) do update set failure_count = breaker.failure_count + 1;
    update operations.circuit_breakers
    set state = 'open', opened_at = coalesce(opened_at, clock_timestamp()),
        retry_at = clock_timestamp() + pause, changed_at = clock_timestamp()
    where name = breaker_name and (state = 'half_open' or (state = 'closed' and failure_count >= threshold));
end
$$;

ALTER FUNCTION operations.breaker_record(breaker_name text, succeeded boolean, threshold integer, pause interval) OWNER TO postgres;

CREATE TABLE market.comparisons (
    as_of_date date NOT NULL,
    base_symbol text NOT NULL,
    quote_symbol text NOT NULL,
    window_days integer NOT NULL,
    price_ratio double precision,
    volume_ratio double precision,
    roi_spread_ratio double precision,
    return_correlation double precision,
    common_return_count integer NOT NULL,
    method_version text NOT NULL,
    CONSTRAINT comparisons_check CHECK ((base_symbol < (quote_symbol COLLATE "C"))),
    CONSTRAINT comparisons_common_return_count_check CHECK ((common_return_count >= 0)),
    CONSTRAINT comparisons_price_ratio_check CHECK (((price_ratio > (0)::double precision) AND (price_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_return_correlation_check CHECK (((return_correlation >= ('-1'::integer)::double precision) AND (return_correlation <= (1)::double precision))),
    CONSTRAINT comparisons_roi_spread_ratio_check CHECK (((roi_spread_ratio > '-Infinity'::double precision) AND (roi_spread_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_volume_ratio_check CHECK (((volume_ratio >= (0)::double precision) AND (volume_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_window_days_check CHECK ((window_days > 0))
);

ALTER TABLE market.comparisons OWNER TO postgres;

CREATE TABLE market.markets (
    symbol text NOT NULL,
    name text NOT NULL,
    base_asset text NOT NULL,
    quote_asset text NOT NULL,
    asset_class text NOT NULL,
    calendar text NOT NULL,
    periods_per_year integer NOT NULL,
    first_day date NOT NULL,
    provider text NOT NULL,
    CONSTRAINT markets_asset_class_check CHECK ((asset_class = ANY (ARRAY['crypto'::text, 'equity'::text, 'index'::text]))),
    CONSTRAINT markets_periods_per_year_check CHECK (((periods_per_year >= 1) AND (periods_per_year <= 366))),
    CONSTRAINT markets_symbol_check CHECK ((symbol <> ''::text))
);

ALTER TABLE market.markets OWNER TO postgres;

CREATE TABLE market.roi_statistics (
    as_of_date date NOT NULL,
    symbol text NOT NULL,
    window_days integer NOT NULL,
    return_count integer NOT NULL,
    total_return_ratio double precision,
    annualised_return_ratio double precision,
    volatility_ratio double precision,
    sharpe_ratio double precision,
    sortino_ratio double precision,
    max_drawdown_ratio double precision,
    max_drawdown_peak_date date,
    max_drawdown_trough_date date,
    calmar_ratio double precision,
    best_day_ratio double precision,
    worst_day_ratio double precision,
    periods_per_year integer NOT NULL,
    risk_free_rate_ratio double precision NOT NULL,
    method_version text NOT NULL,
    CONSTRAINT roi_statistics_annualised_return_ratio_check CHECK (((annualised_return_ratio >= ('-1'::integer)::double precision) AND (annualised_return_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_best_day_ratio_check CHECK (((best_day_ratio >= ('-1'::integer)::double precision) AND (best_day_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_calmar_ratio_check CHECK (((calmar_ratio > '-Infinity'::double precision) AND (calmar_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_check CHECK ((max_drawdown_peak_date < max_drawdown_trough_date)),
    CONSTRAINT roi_statistics_max_drawdown_ratio_check CHECK (((max_drawdown_ratio >= ('-1'::integer)::double precision) AND (max_drawdown_ratio <= (0)::double precision))),
    CONSTRAINT roi_statistics_return_count_check CHECK ((return_count >= 1)),
    CONSTRAINT roi_statistics_sharpe_ratio_check CHECK (((sharpe_ratio > '-Infinity'::double precision) AND (sharpe_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_sortino_ratio_check CHECK (((sortino_ratio > '-Infinity'::double precision) AND (sortino_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_total_return_ratio_check CHECK (((total_return_ratio >= ('-1'::integer)::double precision) AND (total_return_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_volatility_ratio_check CHECK (((volatility_ratio >= (0)::double precision) AND (volatility_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_window_days_check CHECK ((window_days > 0)),
    CONSTRAINT roi_statistics_worst_day_ratio_check CHECK (((worst_day_ratio >= ('-1'::integer)::double precision) AND (worst_day_ratio < 'Infinity'::double precision)))
);

ALTER TABLE market.roi_statistics OWNER TO postgres;

CREATE TABLE market.snapshots (
    symbol text NOT NULL,
    as_of timestamp with time zone NOT NULL,
    price double precision NOT NULL,
    change_24h_ratio double precision,
    volume_24h double precision,
    volatility_ratio double precision,
    roi_1d_ratio double precision,
    roi_7d_ratio double precision,
    roi_30d_ratio double precision,
    provider text NOT NULL,
    CONSTRAINT snapshots_change_24h_ratio_check CHECK (((change_24h_ratio > '-Infinity'::double precision) AND (change_24h_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_price_check CHECK (((price > (0)::double precision) AND (price < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_1d_ratio_check CHECK (((roi_1d_ratio >= ('-1'::integer)::double precision) AND (roi_1d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_30d_ratio_check CHECK (((roi_30d_ratio >= ('-1'::integer)::double precision) AND (roi_30d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_7d_ratio_check CHECK (((roi_7d_ratio >= ('-1'::integer)::double precision) AND (roi_7d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_volatility_ratio_check CHECK (((volatility_ratio >= (0)::double precision) AND (volatility_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_volume_24h_check CHECK (((volume_24h >= (0)::double precision) AND (volume_24h < 'Infinity'::double precision)))
);

ALTER TABLE market.snapshots OWNER TO postgres;

CREATE TABLE operations.circuit_breakers (
    name text NOT NULL,
    state text DEFAULT 'closed'::text NOT NULL,
    failure_count integer DEFAULT 0 NOT NULL,
    opened_at timestamp with time zone,
    retry_at timestamp with time zone,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT circuit_breakers_check CHECK (((state = 'closed'::text) = (retry_at IS NULL))),
    CONSTRAINT circuit_breakers_failure_count_check CHECK ((failure_count >= 0)),
    CONSTRAINT circuit_breakers_state_check CHECK ((state = ANY (ARRAY['closed'::text, 'open'::text, 'half_open'::text])))
);

ALTER TABLE operations.circuit_breakers OWNER TO postgres;

COMMENT ON TABLE operations.circuit_breakers IS 'One row per outside source: closed calls go through, open they do not, half_open one probe does until retry_at.';

CREATE TABLE operations.rejects (
    reject_id bigint NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    payload jsonb NOT NULL,
    payload_digest text NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_count integer DEFAULT 1 NOT NULL,
    CONSTRAINT rejects_seen_count_check CHECK ((seen_count >= 1))
);

ALTER TABLE operations.rejects OWNER TO postgres;

COMMENT ON TABLE operations.rejects IS 'One row per bad row per source: what it was and why it was refused. Seen again, it is counted, not repeated.';

ALTER TABLE operations.rejects ALTER COLUMN reject_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.rejects_reject_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.schema_migrations (
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE operations.schema_migrations OWNER TO postgres;

ALTER TABLE ONLY market.comparisons
    ADD CONSTRAINT comparisons_pkey PRIMARY KEY (as_of_date, base_symbol, quote_symbol);

ALTER TABLE ONLY market.markets
    ADD CONSTRAINT markets_pkey PRIMARY KEY (symbol);

ALTER TABLE ONLY market.roi_statistics
    ADD CONSTRAINT roi_statistics_pkey PRIMARY KEY (as_of_date, symbol, window_days);

ALTER TABLE ONLY market.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (symbol, as_of);

ALTER TABLE ONLY operations.circuit_breakers
    ADD CONSTRAINT circuit_breakers_pkey PRIMARY KEY (name);

ALTER TABLE ONLY operations.rejects
    ADD CONSTRAINT rejects_pkey PRIMARY KEY (reject_id);

ALTER TABLE ONLY operations.rejects
    ADD CONSTRAINT rejects_source_payload_digest_key UNIQUE (source, payload_digest);

ALTER TABLE ONLY operations.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

CREATE INDEX rejects_last_seen ON operations.rejects USING btree (last_seen_at);

ALTER TABLE ONLY market.snapshots
    ADD CONSTRAINT snapshots_symbol_fkey FOREIGN KEY (symbol) REFERENCES market.markets(symbol);

GRANT USAGE ON SCHEMA market TO pipeline_worker;
GRANT USAGE ON SCHEMA market TO pipeline_reader;

GRANT USAGE ON SCHEMA operations TO pipeline_worker;
GRANT USAGE ON SCHEMA operations TO pipeline_reader;

GRANT SELECT ON TABLE market.comparisons TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.comparisons TO pipeline_worker;

GRANT SELECT ON TABLE market.markets TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.markets TO pipeline_worker;

GRANT SELECT ON TABLE market.roi_statistics TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.roi_statistics TO pipeline_worker;

GRANT SELECT ON TABLE market.snapshots TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.snapshots TO pipeline_worker;

GRANT SELECT ON TABLE operations.circuit_breakers TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.circuit_breakers TO pipeline_worker;

GRANT SELECT ON TABLE operations.rejects TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.rejects TO pipeline_worker;

GRANT SELECT,USAGE ON SEQUENCE operations.rejects_reject_id_seq TO pipeline_worker;

GRANT SELECT ON TABLE operations.schema_migrations TO pipeline_worker;
GRANT SELECT ON TABLE operations.schema_migrations TO pipeline_reader;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA market GRANT SELECT ON TABLES TO pipeline_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA market GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT,USAGE ON SEQUENCES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT ON TABLES TO pipeline_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;
