"""The environment, read once into one frozen object. The only module that touches `os.environ`.

Names and defaults are those of the seed documents; ours beside them. A wrong value raises a `ConfigurationError` that
names the variable, the value and what is expected; secrets are never printed.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, unquote

from croniter import CroniterBadDateError, croniter
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.funnels import parse_funnels

PROJECT_ROOT = Path(__file__).resolve().parents[1]

Severity = Literal["info", "warning", "error", "critical"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Provider = Literal["mock", "file", "coingecko", "binance"]

_DATABASE_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://", "postgresql+psycopg2://")
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_HTTP_SCHEMES = ("http://", "https://")
_LAKE_SCHEMES = ("s3://", "gs://", "az://", "abfs://", "abfss://", "file://")
_CONTAINER = re.compile(r"abfss?://[^/@:]+@[^/@:]+(/.*)?")  # container@account is Azure's spelling, not a user
_PLAIN_URLS = ("lake_url", "coingecko_url", "binance_url")
_SHORTEST_KEY = 12  # a shorter path is a word such as `hook`
_USER_INFO = re.compile(r"^([^/]*://)?.*@")
_CRON_FIELDS = 5
_SYMBOL = re.compile(r"[A-Z0-9.^=_/-]+")
_DAY = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_TABLE = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*")
_SIZE = re.compile(r"[1-9]\d*(MB|GB)")
_SHORTEST_SIGNING_KEY = 32  # RFC 7518: HS256 needs 256 bits
_RATE = re.compile(r"[1-9]\d{0,8}/(second|minute|hour|day)|0")


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

    # Cache, alerts, logs
    cache_ttl_seconds: int = Field(300, ge=1, description="Lifetime of a cached value")
    alert_webhook_url: SecretStr | None = Field(None, description="Receives alerts as JSON; none are sent when unset")
    alert_min_severity: Severity = Field("warning", description="Least severe alert that is sent")
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
    intake_connections: int = Field(4, ge=2, le=100, description="Most PostgreSQL connections of an intake worker")

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

    @field_validator("ingestion_markets", mode="before")
    @classmethod
    def _split_markets(cls, value: object) -> object:
        symbols = tuple(part.strip().upper() for part in value.split(",")) if isinstance(value, str) else value
        if (
            not isinstance(symbols, tuple)
            or not all(map(_SYMBOL.fullmatch, symbols))
            or len(set(symbols)) != len(symbols)
        ):
            raise ValueError("expected comma-separated, different market symbols such as BTC-USD,SPX")
        return symbols

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        networks = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value
        try:
            return tuple(str(ip_network(network)) for network in networks)  # type: ignore[attr-defined]
        except ValueError:
            raise ValueError("expected comma-separated networks such as 10.0.0.0/8,fd00::/8") from None

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _SHORTEST_SIGNING_KEY:
            raise ValueError(f"expected at least {_SHORTEST_SIGNING_KEY} characters")
        return value

    @field_validator("events_rate_limit", "crawl_rate_limit")
    @classmethod
    def _rate(cls, value: str) -> str:
        if not _RATE.fullmatch(value):
            raise ValueError("expected a number of requests per second, minute, hour or day such as 60/minute, or 0")
        return value

    @field_validator("ingestion_cron_expression")
    @classmethod
    def _known_cron(cls, value: str) -> str:
        # `0 0 31 2 *` is well formed and never comes
        if len(value.split()) != _CRON_FIELDS or not croniter.is_valid(value) or not _has_next(value):
            raise ValueError("expected a cron expression of five fields such as */15 * * * *")
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
        if "://" in value and not value.startswith(_LAKE_SCHEMES):
            raise ValueError(f"expected a folder or a URL that starts with {' or '.join(_LAKE_SCHEMES)}")
        if "://" in value and not _CONTAINER.fullmatch(value):
            _refuse_user(value)
        return value

    @field_validator("database_url", "dagster_pg_url", "intake_database_url")
    @classmethod
    def _postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        return _complete(_with_scheme(value, _DATABASE_SCHEMES))

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        return _with_scheme(value, _REDIS_SCHEMES)

    @field_validator("alert_webhook_url")
    @classmethod
    def _http_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        return _with_scheme(value, _HTTP_SCHEMES)

    @field_validator("coingecko_url", "binance_url")
    @classmethod
    def _api_root(cls, value: str) -> str:
        if not value.startswith(_HTTP_SCHEMES):
            raise ValueError(f"expected a URL that starts with {' or '.join(_HTTP_SCHEMES)}")
        _refuse_user(value)
        return value

    @property
    def lake_root(self) -> str:
        return self.lake_url or str(self.ingestion_home / "lake")

    def secrets(self) -> frozenset[str]:
        """Every value that no message may hold: passwords and keys, the passwords inside URLs, the webhook's path."""
        found: set[str] = set()
        for name, value in vars(self).items():
            if isinstance(value, SecretStr):
                secret = value.get_secret_value()
                found.update(_secrets_of_url(secret) if name.endswith("_url") else [secret])
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


def _with_scheme(value: SecretStr | None, schemes: tuple[str, ...]) -> SecretStr | None:
    if value is not None and not value.get_secret_value().startswith(schemes):
        raise ValueError(f"expected a URL that starts with {' or '.join(schemes)}")
    return value


def _complete(value: SecretStr | None) -> SecretStr | None:
    """Refuses what only the first connection would notice."""
    if value is not None:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            database = make_url(value.get_secret_value()).database
        except (ArgumentError, ValueError):
            database = None
        if not database:
            raise ValueError(
                "expected a URL with host and database such as postgresql://user:password@host:5432/database"
            )
    return value


def _refuse_user(url: str) -> None:
    """A plain setting is printed; who puts a password into it would see it in every message."""
    host, at, _ = url.partition("://")[2].rpartition("@")
    if at and ("/" not in host or ":" in host.partition("/")[0]):
        raise ValueError("expected a URL without a user or password")


def _secrets_of_url(url: str) -> Iterator[str]:
    """Its passwords, as they are written and as they are meant; of a webhook also the path, which is the key."""
    rest = url.partition("://")[2]
    if url.startswith(_HTTP_SCHEMES):
        path = rest.partition("/")[2]
        yield from (url, path) if len(path) >= _SHORTEST_KEY else (url,)
    users = {rest.partition("@")[0], rest.rpartition("@")[0]} if "@" in rest else set()  # an @ in the password
    passwords = {user.partition(":")[2] for user in users}
    passwords.update(parse_qs(rest.partition("?")[2]).get("password", []))
    yield from passwords
    yield from map(unquote, passwords)


def _has_next(cron: str) -> bool:
    with suppress(CroniterBadDateError):
        return bool(croniter(cron, datetime(2025, 1, 1, tzinfo=UTC)).get_next(float))
    return False


def _first_problem(error: ValidationError) -> ConfigurationError:
    problem = error.errors(include_url=False)[0]
    name = str(problem["loc"][0])
    annotation = str(Settings.model_fields[name].annotation)
    value = "***" if "Secret" in annotation else str(problem["input"])
    if name in _PLAIN_URLS:
        value = _USER_INFO.sub(r"\1***@", value)
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("expected ").removeprefix("Input should be ")
    return ConfigurationError(name.upper(), value, expected)
