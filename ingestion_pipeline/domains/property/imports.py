"""Publishers' files into property.fundamentals, a transaction a part; importing one again changes nothing.

Belongs here: which figures of a file are taken, as which market, and the record of it. Does not belong here: how a file
is read (files.py and the publishers' modules), what replaces what (revisions.py).
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from difflib import get_close_matches
from itertools import count, islice

import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.markets import MARKET_SLUG
from ingestion_pipeline.domains.property.contracts import FUNDAMENTALS_UPSERT
from ingestion_pipeline.domains.property.files import BadCell, PublishedFile
from ingestion_pipeline.domains.property.ingest import SERVICES, market_key, write_staleness
from ingestion_pipeline.domains.property.revisions import write_fundamentals
from ingestion_pipeline.domains.property.transforms import (
    FundamentalRow,
    Origin,
    Refused,
    fundamental_problem,
    fundamental_row,
    markets_of,
)
from ingestion_pipeline.storage.cache import Cache, invalidate
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_ingestion
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.rejects import Reject, insert_rejects

ROWS_PER_PART = 100_000
MOST_REJECTS = 1_000
MOST_KEYS = 100
_READ_BYTES = 1 << 20

log = structlog.get_logger(__name__)


@dataclass
class Imported:
    """What became of a file: rows by verdict (revisions.Counts), refused cells, markets, rows left out on purpose."""

    rows: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    markets: set[str] = field(default_factory=set)
    skipped: Mapping[str, int] = field(default_factory=dict)
    first_reason: str | None = None


def chosen_markets(file: PublishedFile, names: Mapping[str, str]) -> Mapping[str, str]:
    """The market of each region that is taken, by the region's id.

    Args:
        file: Its regions have slugs of their own.
        names: The slugs that are taken, each with the name that it gets; none takes all as they are.

    Raises:
        ConfigurationError: the file has no such region, or a name is no slug.
    """
    if not names:
        return file.markets
    known = set(file.markets.values())
    for slug, name in names.items():
        if slug not in known:
            nearest = get_close_matches(slug, known, n=3, cutoff=0.3)
            raise ConfigurationError("--market", slug, f"a market of {file.path.name}, such as {', '.join(nearest)}")
        if not MARKET_SLUG.fullmatch(name):
            raise ConfigurationError("--market", name, "words of a-z and 0-9 joined by hyphens, such as dallas")
    return {region_id: names[slug] for region_id, slug in file.markets.items() if slug in names}


def import_file(
    postgres: Postgres,
    cache: Cache,
    file: PublishedFile,
    *,
    source: str,
    markets: Mapping[str, str],
    since: date | None,
    max_age_days: int,
    rows_per_part: int = ROWS_PER_PART,
) -> Imported:
    """Stores the figures of `file`: each part with its record, so that what breaks off has told what it did.

    Args:
        postgres: Logs in as the worker.
        cache: What it holds of the markets is forgotten.
        file: As a publisher's module has found it.
        source: Of every row: the publisher's name.
        markets: The market of each region that is taken, by the region's id.
        since: Earlier figures are left out.
        max_age_days: From which age a market is stale.
        rows_per_part: Rows of one transaction.
    """
    done = Imported()
    received_at, digest = utc_now(), _digest(file)
    cells = _cells(file, markets, since, source=source, received_at=received_at, digest=digest)
    for number in count(1):
        started = time.perf_counter()
        if not (part := list(islice(cells, rows_per_part))):
            break
        rows = [cell for cell in part if isinstance(cell, FundamentalRow)]
        refused = [cell for cell in part if isinstance(cell, Refused)]
        keys = _cache_keys({row.market_slug for row in rows})
        with postgres.transaction() as connection:
            done.rows.update(write_fundamentals(connection, rows))
            write_staleness(connection, max_age_days=max_age_days, markets=markets_of(rows))
            kept = refused[: max(0, MOST_REJECTS - done.rejected)]
            insert_rejects(connection, [Reject(f"file:{source}", it.reason, it.payload) for it in kept])
            record_ingestion(
                connection,
                IngestionEvent(
                    event_type=FUNDAMENTALS_UPSERT,
                    source=source,
                    status="success" if not refused else "partial" if rows else "failed",
                    processed_records=len(rows),
                    rejected_records=len(refused),
                    processing_time_ms=(time.perf_counter() - started) * 1000,
                    cache_keys_invalidated=keys,
                    provenance={"file": file.path.name, "sha256": digest, "part": number},
                    error_message=refused[0].reason if refused else None,
                ),
            )
        invalidate(cache, keys, service=SERVICES[FUNDAMENTALS_UPSERT])
        done.rejected += len(refused)
        done.markets.update(row.market_slug for row in rows)
        done.first_reason = done.first_reason or (refused[0].reason if refused else None)
        log.info("part imported", file=file.path.name, rows=done.rows.total(), rejected=done.rejected)
    done.skipped = dict(file.skipped)
    return done


def _cells(
    file: PublishedFile,
    markets: Mapping[str, str],
    since: date | None,
    *,
    source: str,
    received_at: datetime,
    digest: str,
) -> Iterator[FundamentalRow | Refused]:
    """Every figure that is taken as a row, or as refused."""
    origins: dict[str, Origin] = {}
    for figure in file.figures():
        if isinstance(figure, BadCell):
            region_id = str(figure.payload.get("region_id", ""))
            if not region_id or region_id in markets:
                yield Refused(f"{file.path.name}: {figure.reason}", figure.payload)
            continue
        if figure.region_id not in markets or (since is not None and figure.as_of < since):
            continue
        if (origin := origins.get(figure.region_id)) is None:
            provenance = {"file": file.path.name, "sha256": digest, "region_id": figure.region_id}
            origin = origins[figure.region_id] = Origin(
                source=source, received_at=received_at, provenance=json.dumps(provenance)
            )
        # a file that was published ahead of the month's end stands by it as of today
        revised_at = min(figure.revised_at, received_at)
        row = fundamental_row(
            markets[figure.region_id],
            figure.metric,
            figure.as_of,
            figure.value,
            revised_at=revised_at,
            origin=origin,
        )
        problem = fundamental_problem(row, is_month=True)
        yield row if problem is None else Refused(f"{file.path.name}: {problem}", {**figure._asdict()})


def _cache_keys(markets: set[str]) -> list[str]:
    return (
        [market_key("fundamentals", it) for it in sorted(markets)]
        if len(markets) <= MOST_KEYS
        else [market_key("fundamentals", "")]
    )


def _digest(file: PublishedFile) -> str:
    """SHA-256 of the file as it lies there."""
    found = hashlib.sha256()
    with file.path.open("rb") as content:
        while block := content.read(_READ_BYTES):
            found.update(block)
    return found.hexdigest()
