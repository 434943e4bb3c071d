"""`ingestion-pipeline check`: can the pipeline reach what it needs? One answer a part, none hides another."""

from collections.abc import Callable
from dataclasses import dataclass

from ingestion_pipeline.core.errors import IngestionError, PermanentError
from ingestion_pipeline.settings import Settings


@dataclass(frozen=True)
class Finding:
    part: str
    text: str
    problem: IngestionError | None = None

    @property
    def ok(self) -> bool:
        return self.problem is None

    @property
    def is_permanent(self) -> bool:
        """Trying again changes nothing: something has to be corrected first."""
        return isinstance(self.problem, PermanentError)


def checkup(settings: Settings) -> list[Finding]:
    """Tries every part in turn; a provider is asked for the configured markets and their prices."""
    parts: list[tuple[str, Callable[[Settings], str]]] = [
        ("database", _database),
        ("redis", _redis),
        ("lake", _lake),
        ("provider", _provider),
        ("alerts", _alerts),
    ]
    return [_tried(part, probe, settings) for part, probe in parts]


def _tried(part: str, probe: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, probe(settings))
    except IngestionError as error:
        return Finding(part, str(error), error)


def _database(settings: Settings) -> str:
    from ingestion_pipeline.storage.database import require_writable_home
    from ingestion_pipeline.storage.embedded import DATABASE, embedded_postgres
    from ingestion_pipeline.storage.migrate import ensure_database, require_migrated
    from ingestion_pipeline.storage.postgres import public_url

    require_writable_home(settings)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        require_migrated(url)
        return f"{public_url(url)}, newest schema"
    with embedded_postgres(settings) as server:
        ensure_database(server.url(), DATABASE)
        require_migrated(server.url())
        return f"embedded, in {settings.ingestion_home / 'postgres'}, newest schema"


def _redis(settings: Settings) -> str:
    from ingestion_pipeline.storage.cache import cache

    if settings.redis_url is None:
        return "not configured: values are cached in memory"
    cache(settings).ping()
    return "answers"


def _lake(settings: Settings) -> str:
    from ingestion_pipeline.storage.lake import Lake

    Lake(settings).check()
    return f"{settings.lake_root} can be written"


def _provider(settings: Settings) -> str:
    from ingestion_pipeline.providers.catalogue import provider

    source = provider(settings, breaker=_NoBreaker())
    markets = source.fetch_markets(settings.ingestion_markets)
    quotes = source.fetch_quotes(settings.ingestion_markets)
    prices = ", ".join(f"{quote.symbol} {quote.price:g}" for quote in quotes)
    return f"{source.name} knows {len(markets)} market(s): {prices}"


def _alerts(settings: Settings) -> str:
    from ingestion_pipeline.providers.alerts import require_targets

    found = require_targets(settings)
    return f"{len(found)} target(s)" if found else "nobody is told: ALERT_WEBHOOK_URL and ALERT_TARGETS are unset"


class _NoBreaker:
    """A check-up asks even where the breaker is open, and tells it nothing."""

    def before_call(self, name: str) -> None: ...

    def record(self, name: str, *, ok: bool) -> None: ...
