"""The commands of whoever looks after the inbox: list deliveries, look at one, replay or discard what was refused."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import typer

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.core.windows import midnight
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from ingestion_pipeline.domains.operations.delivery_replay import Selection
    from ingestion_pipeline.storage.postgres import Postgres

deliveries = typer.Typer(
    help="Webhooks and dropped files: what was delivered, what became of it.", no_args_is_help=True
)

DAY = "%Y-%m-%d"
DEFAULT_ROWS, MOST_ROWS = 20, 10_000
KNOWN_ID = "the id of a delivery; `deliveries list` shows them"
Status = Literal["pending", "processed", "rejected", "dead"]
Refused = Literal["rejected", "dead"]
Source = Annotated[str | None, typer.Option("--source", help="Only of this source")]
Type = Annotated[str | None, typer.Option("--type", help="Only of this type, such as comps.upsert")]
Id = Annotated[str | None, typer.Option("--id", help="Only this one")]
RefusedStatus = Annotated[Refused | None, typer.Option("--status", help="Only these; both when left out")]
First = Annotated[datetime | None, typer.Option("--from", formats=[DAY], help="Received on this UTC day or later")]
Last = Annotated[datetime | None, typer.Option("--to", formats=[DAY], help="Received on this UTC day or earlier")]


@deliveries.command("list")
def show_all(
    *,
    status: Annotated[Status | None, typer.Option(help="Only these")] = None,
    source: Source = None,
    event_type: Type = None,
    first: First = None,
    last: Last = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="How many at most")] = DEFAULT_ROWS,
) -> None:
    """Deliveries, newest first; why they were refused stands below them."""
    from ingestion_pipeline.domains.operations.delivery_reads import read_deliveries
    from ingestion_pipeline.intake.problems import printable

    with _postgres() as postgres:
        rows = read_deliveries(
            postgres,
            status=status,
            source=source,
            event_type=event_type,
            first=_start(first),
            before=_end(last),
            limit=limit,
        )
    for row in rows:
        market = f"  {row['market_slug']}" if row["market_slug"] else ""
        typer.echo(
            f"{row['delivery_id']}  {row['received_at']:%Y-%m-%d %H:%M:%S}  {row['status']:<9}  {row['source']}  "
            f"{printable(row['event_type'])}{market}"
        )
        if row["reason"]:
            typer.echo(f"    {printable(row['reason'])}")
    if not rows:
        typer.echo("no deliveries")


@deliveries.command()
def show(delivery_id: Annotated[str, typer.Argument(help="The delivery's id")]) -> None:
    """One delivery with what was sent, as JSON."""
    from ingestion_pipeline.domains.operations.delivery_reads import read_delivery

    with _postgres() as postgres:
        row = read_delivery(postgres, _uuid(delivery_id))
    if row is None:
        raise ConfigurationError("DELIVERY_ID", delivery_id, KNOWN_ID)
    row["payload"] = json.loads(row["payload"])
    typer.echo(json.dumps(row, indent=2, default=lambda value: value.isoformat()))


@deliveries.command()
def replay(
    *,
    delivery_id: Id = None,
    status: RefusedStatus = None,
    source: Source = None,
    event_type: Type = None,
    first: First = None,
    last: Last = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="How many at most, oldest first")] = MOST_ROWS,
    dry_run: Annotated[bool, typer.Option(help="Say what would come of it, change nothing")] = False,
) -> None:
    """Apply rejected and dead deliveries again. Without a filter: all of them."""
    from ingestion_pipeline.domains.operations.delivery_replay import replay as replay_deliveries
    from ingestion_pipeline.kinds import DELIVERY_TYPES

    selection = _selection(delivery_id, status, source, event_type, first, last)
    with _postgres() as postgres:
        done = replay_deliveries(postgres, DELIVERY_TYPES, selection, by=_operator(), is_dry_run=dry_run, most=limit)
    are = "would be" if dry_run else "are"
    typer.echo(f"{done.total} refused deliveries: {done.replayed} {are} applied again, {done.rejected} still rejected")


@deliveries.command()
def discard(
    *,
    delivery_id: Id = None,
    status: RefusedStatus = None,
    source: Source = None,
    event_type: Type = None,
    first: First = None,
    last: Last = None,
    dry_run: Annotated[bool, typer.Option(help="Say how many it would be, remove none")] = False,
) -> None:
    """Remove rejected and dead deliveries for good. At least one filter is needed."""
    from ingestion_pipeline.domains.operations.delivery_discard import discard as discard_deliveries

    selection = _selection(delivery_id, status, source, event_type, first, last)
    if not selection.given():
        raise ConfigurationError("discard", "no filter", "one of --id, --status, --source, --type, --from, --to")
    with _postgres() as postgres:
        count = discard_deliveries(postgres, selection, by=_operator(), is_dry_run=dry_run)
    typer.echo(f"{count} refused deliveries {'would be' if dry_run else 'are'} removed")


@deliveries.command()
def forget(source: Annotated[str, typer.Argument(help="A source that is gone for good")]) -> None:
    """Expect nothing more of a source, until it delivers again."""
    from ingestion_pipeline.domains.operations.delivery_discard import forget_source

    with _postgres() as postgres:
        if not forget_source(postgres, source, by=_operator()):
            raise ConfigurationError("SOURCE", source, "a source that has delivered; `deliveries list` shows them")
    typer.echo(f"{source} is no longer expected")


@contextmanager
def _postgres() -> "Iterator[Postgres]":
    from ingestion_pipeline.storage.database import database
    from ingestion_pipeline.storage.postgres import Postgres

    settings = Settings.from_environment()
    configure_logging(settings.log_level, style=settings.log_format, secrets=settings.secrets())
    with (
        database(settings, purpose="read") as environment,
        closing(Postgres(environment["DATABASE_URL"])) as postgres,
    ):
        yield postgres


def _selection(
    delivery_id: str | None,
    status: Refused | None,
    source: str | None,
    event_type: str | None,
    first: datetime | None,
    last: datetime | None,
) -> "Selection":
    from ingestion_pipeline.domains.operations.delivery_replay import Selection

    return Selection(
        delivery_id=None if delivery_id is None else str(_uuid(delivery_id, option="--id")),
        status=status,
        source=source,
        event_type=event_type,
        first=_start(first),
        before=_end(last),
    )


def _uuid(text: str, *, option: str = "DELIVERY_ID") -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ConfigurationError(option, text, KNOWN_ID) from None


def _start(day: datetime | None) -> datetime | None:
    return None if day is None else midnight(day.date())


def _end(day: datetime | None) -> datetime | None:
    """Of the UTC day `day`."""
    return None if day is None else midnight(day.date()) + timedelta(days=1)


def _operator() -> str:
    """Who runs the command, for the audit log."""
    try:
        return f"cli:{getuser()}"
    except (KeyError, OSError):  # a container without users
        return "cli"
