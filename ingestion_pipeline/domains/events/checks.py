"""What must be true of the event history: every event that was taken in is accounted for, on every day."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.erasure import has_erasure_requests
from ingestion_pipeline.domains.events.sync import ALL_TIME, LOCK
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.orchestration.checks import examples
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.event_reader import lag_seconds
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

CHECKED_DAYS = 7
MOST_LAG_SECONDS = 900


@dataclass(frozen=True)
class Account:
    """Of the events received on one UTC day: what the intake counted, what is in the hot log, what is in the lake."""

    day: date
    received: int
    stored: int
    duplicate: int
    rejected: int
    erased: int
    hot: int
    by_intake: int
    pending: int
    dead: int
    in_lake: int

    @property
    def is_balanced(self) -> bool:
        """Received = stored + duplicate + rejected; the hot log holds what was stored; that is in the lake or waits."""
        return (
            self.received == self.stored + self.duplicate + self.rejected
            and self.by_intake == self.stored - self.erased
            and self.hot == self.in_lake + self.pending + self.dead
        )


def accounts(postgres: Postgres, lake: Lake, first: date, last: date) -> list[Account]:
    """The account of each UTC day of reception from `first` to `last` with events; no sync changes it meanwhile."""
    with postgres.exclusive(LOCK):
        days = postgres.read("event_accounts", {"first": first, "last": last})
        history = lake.read(EVENT_HISTORY, ALL_TIME)
        window = Window.of_days(first, last)
        received = history.filter((history.received_at >= window.start) & (history.received_at < window.end))
        counted = received.group_by(day=received.received_at.date()).aggregate(rows=received.count()).to_pyarrow()
    in_lake = dict(zip(counted["day"].to_pylist(), counted["rows"].to_pylist(), strict=True))
    return [Account(**row, in_lake=in_lake.get(row["day"], 0)) for row in days]


@dg.asset_check(
    asset=dg.AssetKey(list(EVENT_HISTORY.asset_key)),
    name="event_history_accounts_for_every_event",
    description=(
        "Per day of the last week: received = stored + duplicate + rejected, and stored = in the lake + pending + "
        "dead. No event waits for the lake longer than 15 minutes."
    ),
    retry_policy=RETRY_POLICY,
)
def event_history_accounts_for_every_event(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> dg.AssetCheckResult:
    with log_context(context, EVENT_HISTORY), explained_failures():
        today = utc_now().date()
        days = min(CHECKED_DAYS, settings.events_hot_days)  # older ones may have left PostgreSQL
        found = accounts(postgres, lake, today - timedelta(days=days - 1), today)
        lag = lag_seconds(postgres, now=utc_now())
        is_erasing = has_erasure_requests(postgres)  # PostgreSQL has been erased then, the lake not yet
    unbalanced = [account for account in found if not account.is_balanced and not is_erasing]
    metadata: dict[str, Any] = {
        "days": len(found),
        "events": sum(account.received for account in found),
        "lag_seconds": lag,
        **examples(EVENT_HISTORY, unbalanced),
    }
    return dg.AssetCheckResult(passed=not unbalanced and lag <= MOST_LAG_SECONDS, metadata=metadata)


CHECKS = [event_history_accounts_for_every_event]
