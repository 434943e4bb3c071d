"""Files dropped into DROP_URL become deliveries: JSON (one body, or an array of them) and NDJSON (one a line).

A record says what a webhook's body says. Whoever may write to the folder is its signer. A process that is killed leaves
a file where it is; what was kept of it is then a duplicate.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import dagster as dg
import msgspec
import psycopg
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.domains.operations.received import Provenance, Reader, Received
from ingestion_pipeline.intake.bodies import decode, require_text
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.drop_folder import TICK_SECONDS, DropFolder, DroppedFile, Marks, drop_folder, take_quiet
from ingestion_pipeline.storage.inbox import accept_all
from ingestion_pipeline.storage.postgres import Postgres, first_line

ENDINGS = frozenset({".json", ".ndjson", ".jsonl"})
MOST_FILE_BYTES = 8_000_000
RECORDS_PER_TRANSACTION = 500
MOST_REASONS = 1_000
DEFAULT_SOURCE = "files"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ARRAY: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])

_log = structlog.get_logger(__name__)


@dataclass
class Taken:
    """What a tick did; `reasons` is what was wrong, by file."""

    files: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    reasons: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Record:
    """A part of a file: the line of NDJSON, or the place in a JSON file, that it stands at, from 1."""

    number: int
    body: bytes


def drop_sensor(types: Sequence[DeliveryType]) -> dg.SensorDefinition:
    """`operations_drop_sensor`, which takes files that hold deliveries of `types`; it does so itself, without runs."""

    @dg.sensor(
        name="operations_drop_sensor",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        description="Files below DROP_URL become deliveries once they have stopped growing.",
    )
    def sense(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        postgres: dg.ResourceParam[Postgres],
    ) -> dg.SkipReason:
        if settings.drop_url is None:
            return dg.SkipReason("DROP_URL is not set")
        folder = deliveries_folder(settings.drop_url, s3_endpoint_url=settings.s3_endpoint_url)
        seen = {path: tuple(mark) for path, mark in json.loads(context.cursor or "{}").items()}
        taken, marks = take_files(postgres, folder, Reader(types, max_depth=settings.max_json_depth), seen=seen)
        context.update_cursor(json.dumps(marks))
        return dg.SkipReason(
            f"{taken.files} files: {taken.accepted} deliveries, {taken.duplicates} duplicates, "
            f"{taken.rejected} rejected; {len(marks)} files are not finished"
        )

    return sense


def deliveries_folder(url: str, *, s3_endpoint_url: str | None = None) -> DropFolder:
    """The folder at `url`, as far as it holds JSON."""
    return drop_folder(url, wanted=is_json, s3_endpoint_url=s3_endpoint_url)


def is_json(path: str) -> bool:
    """Does a file of this name hold deliveries?"""
    return PurePosixPath(path).suffix.lower() in ENDINGS


def take_files(postgres: Postgres, folder: DropFolder, reader: Reader, *, seen: Marks) -> tuple[Taken, Marks]:
    """Takes the files that have been quiet since they were `seen`; what it did, and the marks of those that are left.

    Raises:
        StoreUnavailableError: PostgreSQL or the folder is away.
    """
    taken = Taken()
    with postgres.exclusive("dropped files"):
        left = take_quiet(folder.files(), lambda file: _take(postgres, folder, reader, file, taken), seen=seen)
    return taken, left


def _take(postgres: Postgres, folder: DropFolder, reader: Reader, file: DroppedFile, taken: Taken) -> bool:
    """Keeps what is in the file, then moves it aside; False if it was written to meanwhile."""
    body = folder.read(file.path, most_bytes=MOST_FILE_BYTES)
    reasons: list[str] = []
    if len(body) > MOST_FILE_BYTES:
        reasons.append(f"the file is larger than {MOST_FILE_BYTES} bytes: nothing of it was taken")
    elif len(body) != file.size_bytes:
        return False
    else:
        _keep(postgres, folder, reader, file, body, taken, reasons)
    text = _text(reasons) if reasons else None
    target = folder.move_aside(file.path, day=utc_now().date(), reasons=text, mark=file.mark)
    if target is None:
        return False
    taken.files += 1
    if reasons:
        taken.reasons[file.path] = reasons
        _log.warning("a dropped file has problems", path=target, problems=len(reasons), first=reasons[0])
    return True


def _keep(
    postgres: Postgres,
    folder: DropFolder,
    reader: Reader,
    file: DroppedFile,
    body: bytes,
    taken: Taken,
    reasons: list[str],
) -> None:
    try:
        records = list(_records(file.path, body.removeprefix(_BYTE_ORDER_MARK)))
    except Problem as problem:
        reasons.append(problem.detail)
        return
    if not records:
        reasons.append("the file holds no record")
    for first in range(0, len(records), RECORDS_PER_TRANSACTION):
        received: list[Received] = []
        for record in records[first : first + RECORDS_PER_TRANSACTION]:
            provenance = Provenance(
                scheme="file",
                signed_by=folder.url,
                default_source=DEFAULT_SOURCE,
                origin=f"{file.path}#{record.number}",
            )
            try:
                require_text(record.body)
                received.append(reader.read(record.body, provenance))
            except Problem as problem:
                reasons.append(f"{record.number}: {problem.detail}")
                taken.rejected += 1
        _accept(postgres, received, taken, reasons)


def _accept(postgres: Postgres, received: Sequence[Received], taken: Taken, reasons: list[str]) -> None:
    """All in one transaction; if PostgreSQL cannot store one of them, each in its own."""
    try:
        with postgres.transaction() as connection:
            accepted = accept_all(connection, [it.delivery for it in received])
    except psycopg.DataError as error:
        if len(received) > 1:
            for it in received:
                _accept(postgres, [it], taken, reasons)
            return
        taken.rejected += 1
        reasons.append(f"{_number(received[0])}: it cannot be stored: {first_line(error)}")
        return
    for it, kept in zip(received, accepted, strict=True):
        if it.problem:
            taken.rejected += 1
            reasons.append(f"{_number(it)}: {it.problem.detail}")
        elif kept.is_duplicate:
            taken.duplicates += 1
        else:
            taken.accepted += 1


def _records(path: str, body: bytes) -> Iterator[_Record]:
    """The bodies in a file.

    Raises:
        Problem: a JSON file is no JSON.
    """
    if not path.lower().endswith(".json"):
        lines = (_Record(number, line.strip()) for number, line in enumerate(body.split(b"\n"), start=1))
        yield from (line for line in lines if line.body)
    elif body.lstrip().startswith(b"["):
        require_text(body)
        parts: list[msgspec.Raw] = decode(body, _ARRAY)
        for number, raw in enumerate(parts, start=1):
            yield _Record(number, bytes(raw).strip())
    elif body.strip():
        yield _Record(1, body.strip())


def _number(received: Received) -> str:
    return received.delivery.origin.rpartition("#")[2]


def _text(reasons: Sequence[str]) -> str:
    more = len(reasons) - MOST_REASONS
    shown = [*reasons[:MOST_REASONS], *([f"and {more} more"] if more > 0 else [])]
    return "\n".join(shown).encode("utf-8", "backslashreplace").decode() + "\n"
