"""The dead man's switch of the inbox: which sources have not delivered for longer than they may be silent."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.silence import Silence
from ingestion_pipeline.storage.postgres import Postgres

_SOURCES = (
    "select source, last_received_at from operations.delivery_sources "
    "where by_webhook or source = any(%s) order by source"
)


@dataclass(frozen=True)
class SilentSource:
    """One source that is overdue: when it last delivered, how long ago, and how long it may be silent."""

    source: str
    last_received_at: datetime
    silent_for: timedelta
    allowed: timedelta


def silent_sources(postgres: Postgres, silence: Silence, *, now: datetime | None = None) -> list[SilentSource]:
    """The sources that are overdue by the rules of `silence`, at `now`.

    One that never delivered is not expected; one that only dropped files is if `silence` names it.
    """
    now = now or utc_now()
    with postgres.transaction() as connection:
        rows = connection.execute(_SOURCES, [list(silence.sources)]).fetchall()
    return [
        SilentSource(source, last, now - last, allowed)
        for source, last in rows
        if (allowed := silence.of(source)) is not None and now - last > allowed
    ]
