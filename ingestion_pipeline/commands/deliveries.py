"""The commands of whoever looks after the inbox: list deliveries, look at one, replay or discard what was refused."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ingestion_pipeline.commands.stores import DAY, end_of, opened_postgres, operator, start_of, uuid_of
from ingestion_pipeline.core.errors import ConfigurationError

if TYPE_CHECKING:
    from ingestion_pipeline.domains.operations.delivery_replay import Selection

deliveries = typer.Typer(
    help="Webhooks and dropped files: what was delivered, what became of it.", no_args_is_help=True
)

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

    with opened_postgres() as postgres:
        rows = read_deliveries(
            postgres,
            status=status,
            source=source,
            event_type=event_type,
            first=start_of(first),
            before=end_of(last),
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

    with opened_postgres() as postgres:
        row = read_delivery(postgres, uuid_of(delivery_id, option="DELIVERY_ID", expected=KNOWN_ID))
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
    with opened_postgres() as postgres:
        done = replay_deliveries(postgres, DELIVERY_TYPES, selection, by=operator(), is_dry_run=dry_run, most=limit)
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
    with opened_postgres() as postgres:
        count = discard_deliveries(postgres, selection, by=operator(), is_dry_run=dry_run)
    typer.echo(f"{count} refused deliveries {'would be' if dry_run else 'are'} removed")


@deliveries.command()
def forget(source: Annotated[str, typer.Argument(help="A source that is gone for good")]) -> None:
    """Expect nothing more of a source, until it delivers again."""
    from ingestion_pipeline.domains.operations.delivery_discard import forget_source

    with opened_postgres() as postgres:
        if not forget_source(postgres, source, by=operator()):
            raise ConfigurationError("SOURCE", source, "a source that has delivered; `deliveries list` shows them")
    typer.echo(f"{source} is no longer expected")


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
        delivery_id=None if delivery_id is None else str(uuid_of(delivery_id, option="--id", expected=KNOWN_ID)),
        status=status,
        source=source,
        event_type=event_type,
        first=start_of(first),
        before=end_of(last),
    )
