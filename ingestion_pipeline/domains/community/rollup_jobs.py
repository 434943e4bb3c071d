"""The job `rollup` as both processes know it. What it does is in rollup_handlers.py."""

import re
from datetime import UTC, date, datetime
from typing import Annotated

import msgspec

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.settings import Settings

DAYS, MOST_DAYS = 7, 30
DaysToProcess = Annotated[int, msgspec.Meta(ge=1, le=MOST_DAYS)]
DateText = Annotated[str, msgspec.Meta(max_length=40)]
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Rollup(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The days to build: `daysToProcess` of them, the last the UTC day of `date`, today's by default (seed S4).

    `date` is a day or an instant with its time zone. A dry run changes nothing and tells what it would change.
    """

    date: DateText | None = None
    dry_run: bool = False
    days_to_process: DaysToProcess = DAYS


def last_day(given: Rollup) -> date:
    """The UTC day that is meant.

    Raises:
        ValueError: `date` is neither a day nor an instant.
    """
    if given.date is None:
        return utc_now().date()
    if _DAY.fullmatch(given.date):
        return date.fromisoformat(given.date)
    try:
        instant: datetime = msgspec.convert(given.date, Annotated[datetime, msgspec.Meta(tz=True)])
        return instant.astimezone(UTC).date()
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(f"neither a day nor an instant: {given.date}") from error


def require_day(given: Rollup, _: str | None, __: Settings) -> None:
    """Refuses what is no day, and a day after today. Days before INGESTION_FIRST_DAY are only left out."""
    today = utc_now().date()
    try:
        is_known = last_day(given) <= today
    except ValueError:
        is_known = False
    if not is_known:
        raise ContractError("rollup", "input_data.date", str(given.date), f"a day, {today} or before")


ROLLUP = JobType(
    name="rollup",
    summary="builds the daily rollups of rules and authors again, or tells what that would change",
    input_type=Rollup,
    at_once=1,
    is_long=True,
    check=require_day,
)
JOB_TYPES = (ROLLUP,)
