"""The commands of whoever answers for the events: replay what was refused, erase a person, export what is held."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from ingestion_pipeline.commands.stores import DAY, command_settings, end_of, opened_postgres, operator, start_of
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from ingestion_pipeline.storage.lake import Lake
    from ingestion_pipeline.storage.postgres import Postgres

User = Annotated[str, typer.Option("--user", help="The person's userId")]


@dataclass(frozen=True)
class Stores:
    settings: Settings
    postgres: "Postgres"
    lake: "Lake"


def replay(
    *,
    reject_id: Annotated[int | None, typer.Option("--id", min=1, help="Only this reject")] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=[DAY], help="Last refused on this UTC day or later")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=[DAY], help="Last refused on this UTC day or earlier")
    ] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only events of this type")] = None,
    reason: Annotated[str | None, typer.Option(help="Only with these words in the reason")] = None,
    failed: Annotated[bool, typer.Option(help="Events that failed for good on their way to the lake")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would come of it, store nothing")] = False,
) -> None:
    """Take refused events in again. Without a filter: all that were not replayed yet."""
    from ingestion_pipeline.domains.events.replay import Selection, retry_failed
    from ingestion_pipeline.domains.events.replay import replay as replay_rejects

    if failed and reject_id is not None:
        raise ConfigurationError("--id", str(reject_id), "no --id together with --failed: failed events are no rejects")
    selection = Selection(
        reject_id=reject_id,
        first=start_of(first),
        before=end_of(last),
        event_type=event_type,
        reason=reason,
    )
    with _stores() as stores:
        if failed:
            retried = retry_failed(stores.postgres, selection, by=operator(), is_dry_run=dry_run)
            typer.echo(f"{retried} failed event(s) {'would be' if dry_run else 'are'} tried again")
            return
        done = replay_rejects(stores.postgres, stores.settings, selection, by=operator(), is_dry_run=dry_run)
    stored = "would be stored or are duplicates" if dry_run else f"stored, {done.duplicates} duplicate(s)"
    typer.echo(f"{done.total} refused event(s): {done.accepted} {stored}, {done.rejected} still refused")


def erase(
    user_id: User,
    *,
    anonymise: Annotated[bool, typer.Option(help="Keep the events, without anything that names the person")] = False,
    yes: Annotated[bool, typer.Option(help="Do not ask")] = False,
) -> None:
    """Erase one person everywhere: PostgreSQL, the lake with its older versions, the warehouse."""
    from ingestion_pipeline.domains.events.erasure import erase as erase_person

    if not yes:
        if not sys.stdin.isatty():
            raise ConfigurationError("--yes", "", "--yes where nobody can be asked: this cannot be undone")
        typer.confirm(f"{'Anonymise' if anonymise else 'Erase'} {user_id!r} for good?", abort=True)
    with _stores() as stores:
        done = erase_person(
            stores.postgres,
            stores.lake,
            stores.settings,
            _identifier(user_id),
            mode="anonymise" if anonymise else "erase",
            by=operator(),
        )
    for place, rows in sorted(done.removed.items()):
        typer.echo(f"{place.replace('_', ' '):<20} {rows}")
    typer.echo(f"{len(done.days)} day(s) of the history changed; what is derived from them is built again")
    typer.echo(f"erasure {done.erasure_id} is completed")


def export(
    user_id: User,
    output: Annotated[Path | None, typer.Option(help="A file; standard output when left out")] = None,
) -> None:
    """Hand over everything held about one person, one JSON object a line."""
    import msgspec

    from ingestion_pipeline.domains.events.export import export as records

    encode = msgspec.json.Encoder().encode
    count = 0
    with (
        _stores() as stores,
        nullcontext(sys.stdout.buffer) if output is None else _private_file(output) as target,
    ):
        for record in records(stores.postgres, stores.lake, _identifier(user_id), by=operator()):
            target.write(encode({"part": record.part, "content": record.content}) + b"\n")
            count += 1
        target.flush()
    typer.echo(f"{count} record(s)", err=True)


@contextmanager
def _private_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that only its owner may read; it is at `path` when all of it is written, else nothing is."""
    if path.exists() and not path.is_file():
        raise ConfigurationError("--output", str(path), "the name of a file")
    unfinished = path.with_name(f".{path.name}.{new_id()}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:  # noqa: PTH123
            yield target
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _stores() -> "Iterator[Stores]":
    from ingestion_pipeline.storage.lake import Lake

    settings = command_settings()
    with opened_postgres(settings) as postgres:
        yield Stores(settings, postgres, Lake(settings))


def _identifier(user_id: str) -> str:
    from ingestion_pipeline.domains.events.contracts import MAX_ID_LENGTH

    if not 1 <= len(user_id) <= MAX_ID_LENGTH or "\0" in user_id:
        raise ConfigurationError("--user", user_id, f"1 to {MAX_ID_LENGTH} characters")
    return user_id
