"""Settings: the names and defaults of the seed, wrong values named in one line, secrets never shown."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.settings import PROJECT_ROOT, Settings, child_environment, export, variables

CANARY = "geheim42"

# Those of the seeds (S1: "Environment Variables"), and ours after them.
SEED_DEFAULTS: dict[str, Any] = {
    "DATABASE_URL": None,  # the seed requires one; here the embedded server is the default
    "REDIS_URL": None,
    "INGESTION_PROVIDER": "mock",
    "INGESTION_MARKETS": ("BTC-USD", "ETH-USD", "SPX"),
    "INGESTION_CRON_EXPRESSION": "*/15 * * * *",
    "INGESTION_LOOKBACK_DAYS": 30,
    "CACHE_TTL_SECONDS": 300,
    "ALERT_WEBHOOK_URL": None,
    "ALERT_MIN_SEVERITY": "warning",
    "LOG_LEVEL": "info",
    "CRON_SECRET": None,
    # Seed S0
    "FRED_API_KEY": None,
    "WEBHOOK_SECRET": None,
    "CACHE_TTL_MACRO": 300,
    "CACHE_TTL_FUNDAMENTALS": 3600,
    "CACHE_TTL_COMPS": 1800,
    # Seed S2
    "BIGQUERY_PROJECT_ID": None,
    "BIGQUERY_DATASET_ID": "workdev_events",
    "REDSHIFT_HOST": None,
    "REDSHIFT_DATABASE": "workdev",
    "REDSHIFT_USER": "admin",
    "REDSHIFT_PASSWORD": None,
    # Seed S4
    "INGEST_APP_TOKEN": None,
    "EVENTS_RATE_LIMIT": "60/minute",
    "CRAWL_RATE_LIMIT": "30/minute",
    "PORT": 8787,
}
OUR_DEFAULTS: dict[str, Any] = {
    "DAGSTER_PG_URL": None,
    "WORKER_PASSWORD": None,
    "DAGSTER_PASSWORD": None,
    "INTAKE_DATABASE_URL": None,
    "INTAKE_PASSWORD": None,
    "INGESTION_HOME": PROJECT_ROOT / ".data",
    "LAKE_URL": "",
    "COMPUTE_ENGINE": "duckdb",
    "COMPUTE_MEMORY_LIMIT": "4GB",
    "INGESTION_FIRST_DAY": date(2024, 12, 30),
    "INGESTION_FILE_PATH": None,
    "RISK_FREE_RATE": 0.0,
    "PROVIDER_TIMEOUT_SECONDS": 10.0,
    "COINGECKO_URL": "https://api.coingecko.com/api/v3",
    "COINGECKO_API_KEY": None,
    "BINANCE_URL": "https://data-api.binance.vision",
    "EVENTS_MAX_BATCH": 1000,
    "EVENTS_HOT_DAYS": 30,
    "EVENTS_DEDUPLICATION_DAYS": 7,
    "EVENTS_USERS_TABLE": None,
    "EVENTS_FUNNELS": "hiring:project.created>proposal.submitted>milestone.approved",
    "GEOIP_DATABASE": None,
    "WAREHOUSE": None,
    "BIGQUERY_ENDPOINT": None,
    "REDSHIFT_PORT": 5439,
    "REDSHIFT_S3_URL": None,
    "REDSHIFT_IAM_ROLE": None,
    "S3_ENDPOINT_URL": None,
    "FRED_URL": "https://api.stlouisfed.org/fred",
    "FRED_SERIES": ("MORTGAGE30US", "FEDFUNDS", "DGS10", "CPIAUCSL", "UNRATE", "CSUSHPINSA", "MSPUS", "HOUST"),
    "FUNDAMENTALS_MAX_STALENESS_DAYS": 30,
    "COMPS_MIN_RECENT": 10,
    "COMPS_RECENT_DAYS": 180,
    "WEBHOOK_SECRETS": None,
    "WEBHOOK_SILENCE": "24h",
    "DROP_URL": None,
    "SALES_OWNER": "author",
    "SALES_FILES_URL": None,
    "SALES_DROP_URL": None,
    "SALES_RATES_URL": "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip",
    "SALES_KENP_RATES": None,
    "GUMROAD_ACCESS_TOKEN": None,
    "GUMROAD_URL": "https://api.gumroad.com",
    "GUMROAD_WINDOW_DAYS": 120,
    "GUMROAD_PING_SECRET": None,
    "STRIPE_WEBHOOK_SECRET": None,
    "ABUSE_USER_AGENTS": (
        *("HeadlessChrome", "PhantomJS", "Puppeteer", "Playwright", "Selenium", "Scrapy", "Lighthouse"),
    ),
    "ABUSE_EVENTS_PER_ADDRESS": 1000,
    "TRENDING_HALF_LIFE_HOURS": 48.0,
    "JOB_WAIT_SECONDS": 30.0,
    "CACHE_STALE_SECONDS": 86_400,
    "ALERT_TARGETS": None,
    "ALERT_REMINDER_MINUTES": 240,
    "ALERT_PRIVATE_TARGETS": False,
    "LOG_FORMAT": "auto",
    "JWT_SECRET": None,
    "TRUSTED_PROXIES": (),
    "MAX_BODY_BYTES": 5_000_000,
    "BODY_TIMEOUT_SECONDS": 15.0,
    "MAX_JSON_DEPTH": 32,
    "INTAKE_CONNECTIONS": 4,
    "INTAKE_HOST": "127.0.0.1",
    "INTAKE_WORKERS": 1,
    "CODE_LOCATION_HOST": "127.0.0.1",
    "CODE_LOCATION_PORT": 4266,
    "WEBSERVER_HOST": "127.0.0.1",
    "WEBSERVER_PORT": 3000,
}
DEFAULTS = SEED_DEFAULTS | OUR_DEFAULTS

SECRETS = {
    "DATABASE_URL": f"postgresql://user:{CANARY}@host/db",
    "DAGSTER_PG_URL": f"postgresql://user:{CANARY}@host/db",
    "WORKER_PASSWORD": CANARY,
    "DAGSTER_PASSWORD": CANARY,
    "INTAKE_DATABASE_URL": f"postgresql://user:{CANARY}@host/db",
    "INTAKE_PASSWORD": CANARY,
    "REDIS_URL": f"redis://:{CANARY}@host",
    "ALERT_WEBHOOK_URL": f"https://hooks.example.org/{CANARY}",
    "COINGECKO_API_KEY": CANARY,
    "REDSHIFT_PASSWORD": CANARY,
    "CRON_SECRET": CANARY,
    "INGEST_APP_TOKEN": CANARY,
    "JWT_SECRET": CANARY * 4,
    "FRED_API_KEY": CANARY,
    "GUMROAD_ACCESS_TOKEN": CANARY,
    "GUMROAD_PING_SECRET": CANARY * 2,
    "STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY * 2},whsec_{CANARY * 3}",
    "WEBHOOK_SECRET": CANARY * 2,
    "WEBHOOK_SECRETS": f"acme={CANARY * 2}",
    "ALERT_TARGETS": f"slack://{CANARY}",
}

DATABASE = "postgresql://user:password@host:5432/database"
WRONG: list[tuple[str, str, str]] = [
    ("INGESTION_PROVIDER", "yahoo", "'mock', 'file', 'coingecko' or 'binance'"),
    ("INGESTION_MARKETS", "BTC-USD,,SPX", "BTC-USD,SPX"),
    ("INGESTION_MARKETS", "BTC-USD;SPX", "BTC-USD,SPX"),
    ("INGESTION_MARKETS", "SPX,spx", "different"),
    ("INGESTION_CRON_EXPRESSION", "every day", "five fields"),
    ("INGESTION_CRON_EXPRESSION", "* * * * * *", "five fields"),
    ("INGESTION_CRON_EXPRESSION", "0 0 31 2 *", "five fields"),
    ("INGESTION_LOOKBACK_DAYS", "0", "greater than or equal to 1"),
    ("INGESTION_LOOKBACK_DAYS", "a month", "integer"),
    ("INGESTION_FIRST_DAY", "86400", "2025-01-01"),
    ("INGESTION_FIRST_DAY", "2025-02-30", "date"),
    ("RISK_FREE_RATE", "nan", "less than 1"),
    ("RISK_FREE_RATE", "5", "less than 1"),
    ("PROVIDER_TIMEOUT_SECONDS", "0", "greater than 0"),
    ("PROVIDER_TIMEOUT_SECONDS", "inf", "300"),
    ("CACHE_TTL_SECONDS", "1.5", "integer"),
    ("ALERT_MIN_SEVERITY", "loud", "'critical'"),
    ("LOG_LEVEL", "trace", "'debug'"),
    ("LOG_FORMAT", "xml", "'json'"),
    ("COMPUTE_ENGINE", "excel", "'duckdb' or 'pyspark'"),
    ("COMPUTE_MEMORY_LIMIT", "4", "a size such as 512MB or 4GB"),
    ("COMPUTE_MEMORY_LIMIT", "0GB", "a size such as 512MB or 4GB"),
    ("LAKE_URL", "ftp://host/lake", "s3://"),
    ("COINGECKO_URL", "api.coingecko.com", "https://"),
    ("BINANCE_URL", "binance", "https://"),
    ("EVENTS_MAX_BATCH", "0", "greater than or equal to 1"),
    ("EVENTS_DEDUPLICATION_DAYS", "6", "greater than or equal to 7"),
    ("EVENTS_HOT_DAYS", "1", "greater than or equal to 2"),
    ("EVENTS_USERS_TABLE", "users; drop table users", "public.users"),
    ("EVENTS_RATE_LIMIT", "60 per minute", "60/minute"),
    ("EVENTS_RATE_LIMIT", "0/minute", "60/minute"),
    ("CRAWL_RATE_LIMIT", "many", "60/minute"),
    ("WAREHOUSE", "snowflake", "'bigquery' or 'redshift'"),
    ("TRUSTED_PROXIES", "10.0.0.0/40", "10.0.0.0/8"),
    ("TRUSTED_PROXIES", "proxy.example", "10.0.0.0/8"),
    ("JWT_SECRET", CANARY, "32 characters"),
    ("MAX_JSON_DEPTH", "0", "greater than or equal to 1"),
    ("INTAKE_CONNECTIONS", "1", "greater than or equal to 2"),
    ("INTAKE_DATABASE_URL", f"postgresql://user:{CANARY}@host", DATABASE),
    ("FRED_SERIES", "UNRATE,,DGS10", "MORTGAGE30US,UNRATE"),
    ("FRED_SERIES", "UNRATE,unrate", "different"),
    ("WEBHOOK_SECRET", CANARY, "16 characters"),
    ("WEBHOOK_SECRET", f"{CANARY * 2},", "16 characters"),
    ("WEBHOOK_SECRETS", CANARY * 2, "source=secret"),
    ("WEBHOOK_SECRETS", f"={CANARY * 2}", "source=secret"),
    ("WEBHOOK_SILENCE", "a day", "24h,acme=1h"),
    ("WEBHOOK_SILENCE", "24h,=1h", "24h,acme=1h"),
    ("DROP_URL", "ftp://host/drop", "s3://"),
    ("SALES_OWNER", "two words", "pattern"),
    ("SALES_FILES_URL", "ftp://host/files", "s3://"),
    ("SALES_DROP_URL", "ftp://host/drop", "s3://"),
    ("GUMROAD_URL", "ftp://gumroad", "http"),
    ("GUMROAD_WINDOW_DAYS", "-1", "greater than or equal to 0"),
    ("GUMROAD_PING_SECRET", "short", "16 characters"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_long_enough_a,short", "16 characters"),
    ("ABUSE_EVENTS_PER_ADDRESS", "0", "greater than or equal to 1"),
    ("TRENDING_HALF_LIFE_HOURS", "0", "greater than 0"),
    ("CACHE_STALE_SECONDS", "-1", "greater than or equal to 0"),
    ("ALERT_REMINDER_MINUTES", "0", "greater than or equal to 1"),
    ("JOB_WAIT_SECONDS", "301", "300"),
    ("WEBSERVER_PORT", "70000", "65535"),
    ("CODE_LOCATION_PORT", "http", "integer"),
    ("DATABASE_URL", f"mysql://user:{CANARY}@host/db", "postgresql://"),
    ("DATABASE_URL", f"postgresql://user:{CANARY}@host:port/db", DATABASE),
    ("DATABASE_URL", f"postgresql://user:{CANARY}@host", DATABASE),
    ("DAGSTER_PG_URL", f"postgresql://user:{CANARY}@host", DATABASE),
    ("REDIS_URL", f"http://:{CANARY}@host", "redis://"),
    ("ALERT_WEBHOOK_URL", f"hooks.example.org/{CANARY}", "https://"),
]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine that runs the tests."""
    for name in variables():
        monkeypatch.delenv(name, raising=False)


def value_of(settings: Settings, name: str) -> Any:
    value = getattr(settings, name.lower())
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def test_every_variable_has_the_documented_name_and_default() -> None:
    """Those of the seed exactly, and no variable that is in neither table."""
    settings = Settings.from_environment()
    assert DEFAULTS == {name: value_of(settings, name) for name in variables()}


def test_every_variable_says_what_it_is_for() -> None:
    """The documentation and .env.example are made from this."""
    assert [] == [name for name, purpose in variables().items() if not purpose]


@pytest.mark.parametrize(("name", "value", "expectation"), WRONG, ids=[f"{name}={value}" for name, value, _ in WRONG])
def test_a_wrong_value_gives_one_line_that_names_variable_value_and_expectation(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expectation: str
) -> None:
    """One line, ready to act on; the value is masked where it may be a secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment()
    shown = "***" if name in SECRETS else value
    assert (f"{name}={shown!r}: expected ", True, False, 1) == (
        re.match(r".*?: expected ", str(caught.value)).group(),
        expectation in str(caught.value),
        CANARY in f"{caught.value!r} {caught.value.__cause__!r}",
        len(str(caught.value).splitlines()),
    )


def test_every_secret_is_tested_as_one() -> None:
    """A new secret setting joins the table above."""
    secret = {name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert secret == set(SECRETS)


@pytest.mark.parametrize("render", [repr, str, lambda s: s.model_dump_json(), lambda s: f"{s.model_dump()}"])
def test_settings_can_be_printed_without_their_secrets(render) -> None:
    """In a log line, a traceback or a JSON dump."""
    settings = Settings.from_environment(SECRETS)
    assert (SECRETS, False) == ({name: value_of(settings, name) for name in SECRETS}, CANARY in render(settings))


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`REDIS_URL=` in a compose file means none; in the environment and as an override."""
    monkeypatch.setenv(name, "")
    in_environment = value_of(Settings.from_environment(), name)
    monkeypatch.delenv(name)
    as_override = value_of(Settings.from_environment({name: ""}), name)
    assert (DEFAULTS[name], DEFAULTS[name]) == (in_environment, as_override)


def test_an_override_wins_over_the_environment_even_when_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller says is what counts."""
    monkeypatch.setenv("LOG_LEVEL", "error")
    monkeypatch.setenv("REDIS_URL", "redis://host")
    settings = Settings.from_environment({"LOG_LEVEL": "debug", "REDIS_URL": ""})
    assert ("debug", None) == (settings.log_level, settings.redis_url)


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("BTC-USD", ("BTC-USD",)),
        (" btc-usd , SPX ", ("BTC-USD", "SPX")),
        ("^GSPC,BRK.B,EURUSD=X", ("^GSPC", "BRK.B", "EURUSD=X")),
    ],
)
def test_markets_are_comma_separated_symbols_in_upper_case(text: str, symbols: tuple[str, ...]) -> None:
    """In the order given."""
    assert symbols == Settings.from_environment({"INGESTION_MARKETS": text}).ingestion_markets


def test_settings_cannot_be_changed() -> None:
    """What was read at the start holds until the end."""
    settings = Settings.from_environment()
    with pytest.raises(ValidationError, match="frozen"):
        settings.log_level = "debug"


@pytest.mark.parametrize(
    ("overrides", "root"),
    [
        ({"INGESTION_HOME": "/srv/pipeline"}, "/srv/pipeline/lake"),
        ({"INGESTION_HOME": "/srv/pipeline", "LAKE_URL": "s3://bucket/lake"}, "s3://bucket/lake"),
    ],
)
def test_the_lake_lies_in_the_home_unless_lake_url_says_otherwise(overrides: dict[str, str], root: str) -> None:
    """A folder by default, a bucket where one is named."""
    assert root == Settings.from_environment(overrides).lake_root


def test_unknown_variables_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is full of them; so is the folder that the process runs in."""
    monkeypatch.setenv("INGESTION_UNKNOWN", "x")
    assert Path(PROJECT_ROOT / ".data") == Settings.from_environment().ingestion_home


def test_children_see_our_environment_and_what_we_add(monkeypatch: pytest.MonkeyPatch) -> None:
    """On top of it, without changing it; `export` does change it."""
    monkeypatch.setenv("LOG_LEVEL", "error")
    child = child_environment({"LOG_LEVEL": "debug", "WEBSERVER_PORT": "3100"})
    before = Settings.from_environment().log_level
    export({"LOG_LEVEL": "debug"})
    assert ("debug", "3100", "error", "debug") == (
        child["LOG_LEVEL"],
        child["WEBSERVER_PORT"],
        before,
        Settings.from_environment().log_level,
    )


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("COINGECKO_URL", f"https://user:{CANARY}@host/api", "https://***@host/api"),
        ("COINGECKO_URL", f"https://{CANARY}@host/api", "https://***@host/api"),
        ("COINGECKO_URL", f"ftp://user:{CANARY}@host/api", "ftp://***@host/api"),
        ("BINANCE_URL", f"https://user:{CANARY}/x@host", "https://***@host"),
        ("BINANCE_URL", f"https://user:x@{CANARY}@host", "https://***@host"),
        ("BINANCE_URL", f"user:{CANARY}@host", "***@host"),
        ("LAKE_URL", f"s3://key:{CANARY}@bucket/lake", "s3://***@bucket/lake"),
        ("LAKE_URL", f"s3://key:{CANARY}/x@bucket/lake", "s3://***@bucket/lake"),
        ("LAKE_URL", f"abfss://key:{CANARY}@account/lake", "abfss://***@account/lake"),
    ],
)
def test_an_address_that_is_printed_may_hold_no_user(name: str, value: str, shown: str) -> None:
    """It is refused, and what may be a password is not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({name: value})
    assert (name, shown) == (caught.value.variable, caught.value.value)
    starts = "starts with" in caught.value.expected
    assert starts or caught.value.expected == "a URL without a user or password"
    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    "url", ["s3://bucket/a@b", "abfss://container@account.dfs.core.windows.net/lake", "/srv/me@home/lake", "az://c/l"]
)
def test_an_at_sign_that_is_no_user_is_left_alone(url: str) -> None:
    """In a path, and in Azure's own spelling of a container."""
    assert url == Settings.from_environment({"LAKE_URL": url}).lake_root


def test_secrets_are_known_by_value() -> None:
    """Keys whole; of a URL its password, as it is written and as it is meant; of a webhook the address and its path."""
    settings = Settings.from_environment(
        {
            "DATABASE_URL": "postgresql://user:p%40ss/1@host/db",
            "DAGSTER_PG_URL": "postgresql://user@/db?host=/tmp&password=p1%2Fx",
            "REDIS_URL": "redis://:p@ss/2@host",
            "WORKER_PASSWORD": "a://b",
            "ALERT_WEBHOOK_URL": "https://hooks.example.org/T00000/B11111",
        }
    )
    expected = {"p%40ss/1", "p@ss/1", "p1/x", "p@ss/2", "a://b"}
    webhook = {"https://hooks.example.org/T00000/B11111", "T00000/B11111"}
    assert (expected | webhook, set()) == ((expected | webhook) & settings.secrets(), set(Settings().secrets()))
    assert "user" not in settings.secrets()


def test_every_secret_setting_is_among_the_secrets() -> None:
    """A new one is, too."""
    for name, value in SECRETS.items():
        assert CANARY in "".join(Settings.from_environment({name: value}).secrets()), name
