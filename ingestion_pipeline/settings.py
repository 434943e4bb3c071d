"""The environment, read once into one frozen object. The only module that touches `os.environ`.

Names and defaults are those of the seed documents; ours beside them. A wrong value raises a `ConfigurationError` that
names the variable, the value and what is expected; secrets are never printed.
"""

import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.funnels import parse_funnels
from ingestion_pipeline.core.setting_rules import (
    require_cron,
    require_names,
    require_networks,
    require_path_secret,
    require_rate,
    require_secrets,
    require_signing_key,
    split_texts,
)
from ingestion_pipeline.core.silence import parse_silence
from ingestion_pipeline.core.urls import (
    HTTP_SCHEMES,
    LAKE_SCHEMES,
    require_database,
    require_no_user,
    require_place,
    require_scheme,
    secrets_of,
    without_user,
)

PROJECT_ROOT = Path(__file__).resolve().parents[1]

Severity = Literal["info", "warning", "error", "critical"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Provider = Literal["mock", "file", "coingecko", "binance"]

_DATABASE_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://", "postgresql+psycopg2://")
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_DROP_SCHEMES = ("s3://", "gs://", "file://")
_SECRET_LISTS = ("webhook_secret", "webhook_secrets", "stripe_webhook_secret", "alert_targets")
_DAY = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_TABLE = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*")
_SIZE = re.compile(r"[1-9]\d*(MB|GB)")
_NAME_LISTS = {
    "ingestion_markets": (re.compile(r"[A-Z0-9.^=_/-]+"), "market symbols such as BTC-USD,SPX"),
    "fred_series": (re.compile(r"[A-Z0-9_.-]{1,64}"), "FRED series such as MORTGAGE30US,UNRATE"),
}
_OWNER = r"^[A-Za-z0-9][A-Za-z0-9@._:-]{0,99}$"


class Settings(BaseSettings):
    """Every setting there is; one field is one environment variable of the same name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, env_file=None)

    # Stores
    database_url: SecretStr | None = Field(None, description="PostgreSQL; the embedded server when unset")
    dagster_pg_url: SecretStr | None = Field(
        None, description="Dagster's own database; `<database>_dagster` on the same server when unset"
    )
    worker_password: SecretStr | None = Field(
        None, description="Password that `migrate` gives the role pipeline_worker; none when unset"
    )
    dagster_password: SecretStr | None = Field(
        None, description="Password that `migrate` gives the role dagster, which then owns Dagster's database"
    )
    intake_database_url: SecretStr | None = Field(
        None, description="PostgreSQL as the intake logs in (role pipeline_intake); DATABASE_URL when unset"
    )
    intake_password: SecretStr | None = Field(
        None, description="Password that `migrate` gives the role pipeline_intake; none when unset"
    )
    redis_url: SecretStr | None = Field(None, description="Redis or Valkey; an in-memory cache when unset")
    ingestion_home: Path = Field(PROJECT_ROOT / ".data", description="Folder of the embedded server, lake and logs")
    lake_url: str = Field("", description="Delta lake: a folder, s3://, gs:// or az://; `<home>/lake` when unset")
    compute_engine: Literal["duckdb", "pyspark"] = Field("duckdb", description="Ibis backend of heavy computation")
    compute_memory_limit: str = Field("4GB", description="What the engine may use before it spills")

    # Market data (seed S1)
    ingestion_provider: Provider = Field("mock", description="Where bars and quotes come from")
    ingestion_markets: Annotated[tuple[str, ...], NoDecode] = Field(
        ("BTC-USD", "ETH-USD", "SPX"), description="Comma-separated market symbols"
    )
    ingestion_cron_expression: str = Field("*/15 * * * *", description="When snapshots are taken")
    ingestion_lookback_days: int = Field(30, ge=1, le=3650, description="Days of history that are kept complete")
    ingestion_first_day: date = Field(
        date(2024, 12, 30), description="First daily partition, UTC; a Monday makes the first week whole"
    )
    ingestion_file_path: Path | None = Field(None, description="Folder that the `file` provider may read")
    risk_free_rate: float = Field(0.0, gt=-1, lt=1, description="Annual risk-free rate in ROI statistics, as a ratio")
    provider_timeout_seconds: float = Field(10.0, gt=0, le=300, description="Time-out of one provider request")
    coingecko_url: str = Field("https://api.coingecko.com/api/v3", description="CoinGecko API root")
    coingecko_api_key: SecretStr | None = Field(None, description="CoinGecko demo key; keyless when unset")
    binance_url: str = Field("https://data-api.binance.vision", description="Binance market-data API root")

    # Product events (seeds S2 and S4)
    events_max_batch: int = Field(1000, ge=1, le=100_000, description="Events in one request")
    events_hot_days: int = Field(30, ge=2, le=3650, description="Days that events stay in PostgreSQL after the lake")
    events_deduplication_days: int = Field(7, ge=7, le=3650, description="Days that an idempotency key is remembered")
    events_users_table: str | None = Field(
        None, description="Table `schema.name` with id, role and created_at of users, for enrichment; none when unset"
    )
    events_funnels: str = Field(
        "hiring:project.created>proposal.submitted>milestone.approved",
        description="Funnels: name:type>type>type, several separated by ;",
    )
    geoip_database: Path | None = Field(None, description="MaxMind database of countries; no country when unset")
    warehouse: Literal["bigquery", "redshift"] | None = Field(
        None, description="Copy of the event history; none when unset"
    )
    bigquery_project_id: str | None = Field(None, description="BigQuery project")
    bigquery_dataset_id: str = Field("workdev_events", description="BigQuery dataset")
    bigquery_endpoint: str | None = Field(None, description="Address of a BigQuery emulator; Google's when unset")
    redshift_host: str | None = Field(None, description="Redshift cluster")
    redshift_port: int = Field(5439, ge=1, le=65535, description="Port of the Redshift cluster")
    redshift_database: str = Field("workdev", description="Redshift database")
    redshift_user: str = Field("admin", description="Redshift user")
    redshift_password: SecretStr | None = Field(None, description="Password of the Redshift user")
    redshift_s3_url: str | None = Field(None, description="s3://bucket/prefix where batches are staged for COPY")
    redshift_iam_role: str | None = Field(None, description="ARN of the role with which Redshift reads the bucket")
    s3_endpoint_url: str | None = Field(None, description="Address of an S3-compatible store; Amazon's when unset")

    # Property data (seed S0)
    fred_api_key: SecretStr | None = Field(None, description="FRED key; no macro series are fetched when unset")
    fred_url: str = Field("https://api.stlouisfed.org/fred", description="FRED API root")
    fred_series: Annotated[tuple[str, ...], NoDecode] = Field(
        ("MORTGAGE30US", "FEDFUNDS", "DGS10", "CPIAUCSL", "UNRATE", "CSUSHPINSA", "MSPUS", "HOUST"),
        description="Comma-separated FRED series",
    )
    fundamentals_max_staleness_days: int = Field(
        30, ge=1, le=3650, description="Age of a market's newest fundamental from which it is stale"
    )
    comps_min_recent: int = Field(10, ge=0, description="Recent comparable sales that a market must have")
    comps_recent_days: int = Field(180, ge=1, le=3650, description="How long a comparable sale is recent")

    # Webhooks and dropped files (seed S0)
    webhook_secret: SecretStr | None = Field(
        None, description="Comma-separated secrets of webhook senders, several while rotating; closed when unset"
    )
    webhook_secrets: SecretStr | None = Field(
        None, description="Secrets of single sources, `source=secret` separated by commas; a source may have several"
    )
    webhook_silence: str = Field(
        "24h", description="After how long a silent source raises an alert: 24h for all, acme=1h,once=off for some"
    )
    drop_url: str | None = Field(
        None, description="Folder or s3://, gs:// bucket whose JSON files become deliveries; none when unset"
    )

    # Author sales (seed S3)
    sales_owner: str = Field(
        "author", pattern=_OWNER, description="Whose sales those of the drop folder and of the Gumroad account are"
    )
    sales_files_url: str | None = Field(
        None, description="Folder or s3://, gs:// bucket where report files are kept; below INGESTION_HOME when unset"
    )
    sales_drop_url: str | None = Field(
        None, description="Folder or s3://, gs:// bucket whose <platform>/<file> are taken as reports; none when unset"
    )
    sales_rates_url: str = Field(
        "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip",
        description="Exchange rates: an address or a path of a file shaped like the European Central Bank's",
    )
    sales_kenp_rates: Path | None = Field(
        None, description="CSV of one's own with what a page read of KDP pays a month; the published ones when unset"
    )
    gumroad_access_token: SecretStr | None = Field(
        None, description="Gumroad token with the scope view_sales; its API is not asked when unset"
    )
    gumroad_url: str = Field("https://api.gumroad.com", description="Gumroad API root")
    gumroad_window_days: int = Field(
        120, ge=0, le=3650, description="How far back Gumroad is asked again, for refunds of known sales"
    )
    gumroad_ping_secret: SecretStr | None = Field(
        None, description="Last part of the path of Gumroad's pings, which is their only secret; closed when unset"
    )

    # Community (seed S4)
    stripe_webhook_secret: SecretStr | None = Field(
        None, description="Signing secret of Stripe's endpoint, `new,old` while it is rolled; closed when unset"
    )
    abuse_user_agents: Annotated[tuple[str, ...], NoDecode] = Field(
        ("HeadlessChrome", "PhantomJS", "Puppeteer", "Playwright", "Selenium", "Scrapy", "Lighthouse"),
        description="Comma-separated parts of user agents whose events do not count, beside known bots",
    )
    abuse_events_per_address: int = Field(
        1000, ge=1, description="Events of rules that an address may make on a day; of more none counts"
    )
    trending_half_life_hours: float = Field(
        48.0, gt=0, le=8760, description="After how many hours an event is worth half in the trending score"
    )

    # Jobs
    job_wait_seconds: float = Field(30.0, ge=0, le=300, description="How long a request waits for its job at most")

    # Cache, alerts, logs
    cache_ttl_seconds: int = Field(300, ge=1, description="Lifetime of a cached value")
    cache_ttl_macro: int = Field(300, ge=1, description="Lifetime of cached macro series, seconds")
    cache_ttl_fundamentals: int = Field(3600, ge=1, description="Lifetime of cached fundamentals, seconds")
    cache_ttl_comps: int = Field(1800, ge=1, description="Lifetime of cached comparable sales, seconds")
    cache_stale_seconds: int = Field(
        86_400, ge=0, description="How long beyond its lifetime a value is served while its source is down"
    )
    alert_webhook_url: SecretStr | None = Field(None, description="Receives alerts as JSON; none are posted when unset")
    alert_targets: SecretStr | None = Field(
        None, description="Comma-separated targets of alerts as Apprise spells them (slack://, mailto://, ...)"
    )
    alert_min_severity: Severity = Field("warning", description="Least severe alert that is sent")
    alert_reminder_minutes: int = Field(240, ge=1, description="After how long a lasting alert is sent again")
    alert_private_targets: bool = Field(False, description="Alerts may go to addresses of private networks")
    log_level: LogLevel = Field("info", description="Least severe log line that is written")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else JSON")
    cron_secret: SecretStr | None = Field(None, description="Bearer secret of the cron endpoints; closed when unset")

    # HTTP intake
    ingest_app_token: SecretStr | None = Field(
        None, description="Token (`x-app-token`) with every application scope, beside those of `tokens create`"
    )
    jwt_secret: SecretStr | None = Field(
        None, description="HS256 secret of persons' bearer tokens (Supabase-compatible); closed when unset"
    )
    events_rate_limit: str = Field("60/minute", description="Event requests an address may make; 0 is no limit")
    crawl_rate_limit: str = Field("30/minute", description="Crawl requests an address may make; 0 is no limit")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Comma-separated networks (CIDR) of proxies whose X-Forwarded-For or Forwarded is believed"
    )
    max_body_bytes: int = Field(5_000_000, ge=1, le=1_000_000_000, description="Largest request body")
    body_timeout_seconds: float = Field(15.0, gt=0, le=600, description="Time in which a request body must arrive")
    max_json_depth: int = Field(32, ge=1, le=500, description="How deep a JSON body may nest")
    intake_connections: int = Field(
        4,
        ge=2,
        le=100,
        description="Most PostgreSQL connections of an intake worker, beside one for health and those of reads",
    )

    # Where the parts listen
    intake_host: str = Field("127.0.0.1", description="Host of the HTTP intake")
    port: int = Field(8787, ge=1, le=65535, description="Port of the HTTP intake")
    intake_workers: int = Field(1, ge=1, le=64, description="Worker processes of the HTTP intake")
    code_location_host: str = Field("127.0.0.1", description="Host of the code location (gRPC)")
    code_location_port: int = Field(4266, ge=1, le=65535, description="Port of the code location (gRPC)")
    webserver_host: str = Field("127.0.0.1", description="Host of the Dagster UI")
    webserver_port: int = Field(3000, ge=1, le=65535, description="Port of the Dagster UI")

    @classmethod
    def from_environment(cls, overrides: Mapping[str, str] | None = None) -> Self:
        """Reads the environment, `overrides` (by variable name) first. An empty value is an unset variable.

        Raises:
            ConfigurationError: for the first variable that is wrong.
        """
        values: dict[str, Any] = {name.lower(): value for name, value in (overrides or {}).items()}
        unset = {name: cls.model_fields[name].default for name, value in values.items() if value == ""}
        try:
            return cls(**values | unset)
        except ValidationError as error:
            raise _first_problem(error) from None

    @field_validator("ingestion_markets", "fred_series", mode="before")
    @classmethod
    def _split_names(cls, value: object, info: ValidationInfo) -> object:
        pattern, expected = _NAME_LISTS[str(info.field_name)]
        return require_names(value, pattern, expected)

    @field_validator("abuse_user_agents", mode="before")
    @classmethod
    def _split_texts(cls, value: object) -> object:
        return split_texts(value)

    @field_validator("webhook_secret", "webhook_secrets", "stripe_webhook_secret")
    @classmethod
    def _secret_list(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            require_secrets(value.get_secret_value(), has_source=info.field_name == "webhook_secrets")
        return value

    @field_validator("gumroad_ping_secret")
    @classmethod
    def _unguessable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            require_path_secret(value.get_secret_value())
        return value

    @field_validator("webhook_silence")
    @classmethod
    def _silence(cls, value: str) -> str:
        parse_silence(value)
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return require_networks(value)

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            require_signing_key(value.get_secret_value())
        return value

    @field_validator("events_rate_limit", "crawl_rate_limit")
    @classmethod
    def _rate(cls, value: str) -> str:
        require_rate(value)
        return value

    @field_validator("ingestion_cron_expression")
    @classmethod
    def _known_cron(cls, value: str) -> str:
        require_cron(value)
        return value

    @field_validator("ingestion_first_day", mode="before")
    @classmethod
    def _iso_day(cls, value: object) -> object:
        # pydantic itself would read a bare number as seconds since 1970
        if isinstance(value, str) and not _DAY.fullmatch(value):
            raise ValueError("expected a day such as 2025-01-01")
        return value

    @field_validator("events_users_table")
    @classmethod
    def _qualified_table(cls, value: str | None) -> str | None:
        if value is not None and not _TABLE.fullmatch(value):
            raise ValueError("expected a table such as public.users")
        return value

    @field_validator("events_funnels")
    @classmethod
    def _funnels(cls, value: str) -> str:
        parse_funnels(value)
        return value

    @field_validator("compute_memory_limit")
    @classmethod
    def _size(cls, value: str) -> str:
        if not _SIZE.fullmatch(value):
            raise ValueError("expected a size such as 512MB or 4GB")
        return value

    @field_validator("lake_url")
    @classmethod
    def _lake_scheme(cls, value: str) -> str:
        return require_place(value, LAKE_SCHEMES)

    @field_validator("drop_url", "sales_drop_url", "sales_files_url")
    @classmethod
    def _drop_scheme(cls, value: str | None) -> str | None:
        return None if value is None else require_place(value, _DROP_SCHEMES)

    @field_validator("database_url", "dagster_pg_url", "intake_database_url")
    @classmethod
    def _postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            require_database(require_scheme(value.get_secret_value(), _DATABASE_SCHEMES))
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            require_scheme(value.get_secret_value(), _REDIS_SCHEMES)
        return value

    @field_validator("alert_webhook_url")
    @classmethod
    def _http_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            require_scheme(value.get_secret_value(), HTTP_SCHEMES)
        return value

    @field_validator("coingecko_url", "binance_url", "fred_url", "gumroad_url")
    @classmethod
    def _api_root(cls, value: str) -> str:
        return require_no_user(require_scheme(value, HTTP_SCHEMES))

    @property
    def lake_root(self) -> str:
        return self.lake_url or str(self.ingestion_home / "lake")

    def secrets(self) -> frozenset[str]:
        """Every value that no message may hold: passwords and keys, the passwords inside URLs, the webhook's path."""
        found: set[str] = set()
        for name, value in vars(self).items():
            if isinstance(value, SecretStr):
                secret = value.get_secret_value()
                found.update(secrets_of(secret) if name.endswith("_url") else [secret])
                if name in _SECRET_LISTS:
                    found.update(part for text in secret.split(",") for part in (text.strip(), text.partition("=")[2]))
        return frozenset(found - {""})


def variables() -> dict[str, str]:
    """Every environment variable with what it is for, in the order of the class."""
    return {name.upper(): info.description or "" for name, info in Settings.model_fields.items()}


def child_environment(values: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `values` on top, for a process that we start."""
    return {**os.environ, **values}


def export(values: Mapping[str, str]) -> None:
    """Puts `values` into this process's environment, where Dagster's own configuration reads them."""
    os.environ.update(values)


def _first_problem(error: ValidationError) -> ConfigurationError:
    problem = error.errors(include_url=False)[0]
    name = str(problem["loc"][0])
    annotation = str(Settings.model_fields[name].annotation)
    value = "***" if "Secret" in annotation else str(problem["input"])
    if name.endswith("_url"):
        value = without_user(value)
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("expected ").removeprefix("Input should be ")
    return ConfigurationError(name.upper(), value, expected)
