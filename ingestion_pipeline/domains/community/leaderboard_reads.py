"""What applications read of the leaderboards, through the cache. Keys are `community:leaderboards:<board>:<day>`."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.domains.community.leaderboard_tables import Kind, Period, Scope
from ingestion_pipeline.storage.cache import Cache, Found, cached
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_and_forget
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import Stores, Warmer

SERVICE = "leaderboards"
KEYS = "community:leaderboards:*"


@dataclass(frozen=True)
class Board:
    """Which board. `day` is None for the newest."""

    period: Period = "DAILY"
    kind: Kind = "RULE"
    scope: Scope = "GLOBAL"
    scope_value: str = ""
    day: date | None = None

    @property
    def key(self) -> str:
        """Tags are text of strangers: their digest cannot look like another key."""
        value = digest(self.scope_value.encode())[:32] if self.scope_value else "all"
        day = "latest" if self.day is None else self.day.isoformat()
        return f"community:leaderboards:{self.period}:{self.kind}:{self.scope}:{value}:{day}"


def cached_board(stores: Stores, board: Board) -> Found:
    """The whole board: day, and entries by rank; None if nobody is on it."""
    return cached(
        stores.cache,
        board.key,
        service=SERVICE,
        ttl_seconds=stores.settings.cache_ttl_seconds,
        stale_seconds=stores.settings.cache_stale_seconds,
        load=lambda: stored_board(stores.postgres, board),
    )


def stored_board(postgres: Postgres, board: Board) -> dict[str, Any] | None:
    given = {"period": board.period, "kind": board.kind, "scope": board.scope, "scope_value": board.scope_value}
    rows = postgres.read("community_leaderboard", {**given, "day": board.day})
    if not rows:
        return None
    entries = [
        {
            "rank": row["rank"],
            "subjectId": row["subject_id"],
            "title": row["title"],
            "score": row["score"],
            "points": row["points"],
            "views": row["views"],
            "previousRank": row["previous_rank"],
            "rankChange": row["rank_change"],
        }
        for row in rows
    ]
    return {"day": rows[0]["day"].isoformat(), "entries": entries}


def forget_boards(postgres: Postgres, cache: Cache, *, rows: int, milliseconds: float, run_id: str) -> None:
    """What is cached of all boards, in every process: a day that is built anew changes the newest and the next too."""
    event = IngestionEvent(
        event_type="leaderboards.built",
        source=SERVICE,
        processing_time_ms=milliseconds,
        processed_records=rows,
        cache_keys_invalidated=[KEYS],
        dagster_run_id=run_id,
    )
    record_and_forget(postgres, cache, event, service=SERVICE)


def _warm_boards(stores: Stores) -> int:
    """The newest GLOBAL boards, what a start page asks for."""
    periods: tuple[Period, ...] = ("DAILY", "WEEKLY", "MONTHLY", "ALL_TIME")
    kinds: tuple[Kind, ...] = ("RULE", "AUTHOR")
    found = [cached_board(stores, Board(period, kind)).value for period in periods for kind in kinds]
    return sum(it is not None for it in found)


WARMERS = (Warmer(SERVICE, _warm_boards),)
