"""The country of an address, from a MaxMind database where one is configured."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import maxminddb
import structlog

CACHED_ADDRESSES = 10_000

log = structlog.get_logger(__name__)


def countries(database: Path | None) -> Callable[[str], str | None]:
    """From an IP address to its ISO 3166 code; to None where there is no database, or no answer in it.

    A database that cannot be read costs the countries, not the events.
    """
    if database is None:
        return lambda _: None
    try:
        reader = maxminddb.open_database(database)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        log.warning("countries are unknown: GEOIP_DATABASE cannot be read", path=str(database), reason=str(error))
        return lambda _: None

    @lru_cache(CACHED_ADDRESSES)
    def country_of(address: str) -> str | None:
        try:
            record: Any = reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None
        country = record.get("country") if isinstance(record, dict) else None
        code = country.get("iso_code") if isinstance(country, dict) else None
        return code if isinstance(code, str) else None

    return country_of
