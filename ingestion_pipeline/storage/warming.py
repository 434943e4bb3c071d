"""What fills a cache before anybody asks. Each domain lists its warmers; no domain knows those of another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from ingestion_pipeline.core.errors import IngestionError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import Cache
from ingestion_pipeline.storage.postgres import Postgres

WARMING_EVENT = "cache.warming"
MOST_KEYS = 1_000
"""How many keys of one service are warmed: more would drive out what is asked for."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Stores:
    """What a warmer works with."""

    settings: Settings
    postgres: Postgres
    cache: Cache


@dataclass(frozen=True)
class Warmer:
    """`warm` loads the values of one service into the cache and returns how many."""

    service: str
    warm: Callable[[Stores], int]


@dataclass(frozen=True)
class Warmed:
    """Values loaded by service, and why a service failed."""

    counts: dict[str, int]
    problems: dict[str, str]


def warm_all(warmers: Sequence[Warmer], stores: Stores, *, before: Callable[[], None] = lambda: None) -> Warmed:
    """Runs every warmer; one that fails keeps no other back. What `before`, called before each, raises ends it."""
    warmed = Warmed({}, {})
    for warmer in warmers:
        before()
        try:
            warmed.counts[warmer.service] = warmed.counts.get(warmer.service, 0) + warmer.warm(stores)
        except IngestionError as error:
            _log.warning("cache not warmed", service=warmer.service, reason=str(error))
            warmed.problems[warmer.service] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            _log.exception("cache not warmed", service=warmer.service)
            warmed.problems[warmer.service] = type(error).__name__
    return warmed
