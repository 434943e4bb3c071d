"""Report files that are dropped below `<drop>/<platform>/`: kept, queued as jobs, moved aside.

A process that is killed leaves a file where it is; taken again it is the same file and the same job. Belongs here: from
a folder to jobs. Does not belong here: when a file is whole (storage/drop_folder.py), what is in a report.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

import dagster as dg
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, PermanentError, TransientError
from ingestion_pipeline.core.file_names import file_name
from ingestion_pipeline.domains.sales.inputs import MOST_FILE_BYTES, PLATFORMS
from ingestion_pipeline.domains.sales.jobs import RECEIVE_FILE, SalesOptions, ingest_job, sales_options
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.drop_folder import (
    TICK_SECONDS,
    DropFolder,
    DroppedFile,
    Marks,
    drop_folder,
    take_quiet,
)
from ingestion_pipeline.storage.jobs import ENQUEUE
from ingestion_pipeline.storage.kept_files import kept_files
from ingestion_pipeline.storage.postgres import Postgres

ENDINGS = frozenset({".xlsx", ".xls", ".csv", ".tsv", ".txt"})
MOST_NAMED = 5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Taken:
    """What a tick did: reports that were queued, the paths of what is none, the marks of those that are left."""

    reports: int
    strangers: Sequence[str]
    left: Marks


def report_folder(options: SalesOptions) -> DropFolder:
    """The drop folder.

    Raises:
        ConfigurationError: there is none.
    """
    if options.drop_url is None:
        raise ConfigurationError("SALES_DROP_URL", "", "a folder or bucket, to take report files from")
    return drop_folder(
        options.drop_url, wanted=is_report, setting="SALES_DROP_URL", s3_endpoint_url=options.s3_endpoint_url
    )


def is_report(path: str) -> bool:
    """Is it below the folder of a platform, and called like a report that is not open in Excel?"""
    name = PurePosixPath(path)
    return platform_of(path) is not None and name.suffix.lower() in ENDINGS and not name.name.startswith("~$")


def platform_of(path: str) -> str | None:
    """The platform in whose folder `path` is."""
    first, *below = PurePosixPath(path).parts
    return first if below and first in PLATFORMS else None


def kept_from_drop(postgres: Postgres, options: SalesOptions, platform: str, path: str) -> str:
    """Keeps the file at `path` of the drop folder as one of `platform`; its SHA-256. It stays for the sensor.

    Raises:
        UnsafePathError: `path` is outside the folder.
        PermanentError: there is no such file, or it is another platform's or too large.
        TransientError: it is being written.
    """
    folder = report_folder(options)
    file = folder.file(path)
    if file is None or not is_report(path) or platform_of(path) != platform:
        raise PermanentError(f"{path!r} is no report of {platform} in {folder.url}")
    if not folder.is_quiet(file):
        raise TransientError(f"{path!r} was written just now, more may come")
    sha256 = _kept(options, folder, file)
    with postgres.transaction() as connection:
        connection.execute(RECEIVE_FILE, _facts(options, file, platform, sha256))
    return sha256


def queue_waiting(postgres: Postgres, options: SalesOptions, platform: str) -> int:
    """Makes jobs of the files that wait for `platform` and are whole; how many."""
    folder, queued = report_folder(options), 0
    with postgres.exclusive("dropped reports"):
        for file in folder.files():
            if platform_of(file.path) == platform and folder.is_quiet(file):
                queued += _take(postgres, options, folder, file)
    return queued


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=TICK_SECONDS,
    description="Report files below the drop folder become jobs once they have stopped growing.",
)
def sales_drop_sensor(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
) -> dg.SkipReason:
    """Makes jobs of files itself, without runs."""
    options = sales_options(settings)
    if options.drop_url is None:
        return dg.SkipReason("there is no drop folder for reports")
    seen = {path: tuple(mark) for path, mark in json.loads(context.cursor or "{}").items()}
    taken = take_reports(postgres, options, report_folder(options), seen=seen)
    context.update_cursor(json.dumps(taken.left))
    said = f"{taken.reports} report(s) queued; {len(taken.left)} file(s) are not finished"
    if taken.strangers:
        more = ", …" if len(taken.strangers) > MOST_NAMED else ""
        named = ", ".join(taken.strangers[:MOST_NAMED])
        said += f"; {len(taken.strangers)} that are no report in a platform's folder: {named}{more}"
    return dg.SkipReason(said)


def take_reports(postgres: Postgres, options: SalesOptions, folder: DropFolder, *, seen: Marks) -> Taken:
    """Queues the files that have been quiet since they were `seen`.

    Raises:
        StoreUnavailableError: PostgreSQL or the folder is away.
    """
    with postgres.exclusive("dropped reports"):
        files, strangers = folder.look()
        left = take_quiet(files, lambda file: _take(postgres, options, folder, file), seen=seen)
    return Taken(reports=len(files) - len(left), strangers=strangers, left=left)


def _take(postgres: Postgres, options: SalesOptions, folder: DropFolder, file: DroppedFile) -> bool:
    """Keeps and queues the file, then moves it aside; False if it was written to meanwhile."""
    reason = None
    platform = platform_of(file.path) or ""
    try:
        sha256 = _kept(options, folder, file)
        facts = _facts(options, file, platform, sha256)
        payload = {"file_sha256": sha256, "name": facts["name"]}
        with postgres.transaction() as connection:
            connection.execute(RECEIVE_FILE, facts)
            connection.execute(ENQUEUE.encode(), ingest_job(platform, payload, owner_id=options.owner).parameters())
    except PermanentError as error:
        reason = str(error)
        _log.warning("a dropped report is refused", path=file.path, reason=reason)
    return folder.move_aside(file.path, day=utc_now().date(), reasons=reason, mark=file.mark) is not None


def _kept(options: SalesOptions, folder: DropFolder, file: DroppedFile) -> str:
    if file.size_bytes > MOST_FILE_BYTES:
        raise PermanentError(f"{file.path!r} is larger than {MOST_FILE_BYTES // 1024**2} MB")
    with tempfile.TemporaryFile() as copy, folder.opened(file.path) as original:
        shutil.copyfileobj(original, copy)
        if copy.tell() != file.size_bytes:
            raise TransientError(f"{file.path!r} changed while it was read")
        return kept_files(options.files_url, s3_endpoint_url=options.s3_endpoint_url).keep(copy)


def _facts(options: SalesOptions, file: DroppedFile, platform: str, sha256: str) -> dict[str, object]:
    """What RECEIVE_FILE takes."""
    written = datetime.fromtimestamp(file.written_ns / 1e9, UTC) if file.written_ns else None
    return {
        "owner_id": options.owner,
        "sha256": sha256,
        "platform": platform,
        "name": file_name(file.path),
        "size_bytes": file.size_bytes,
        "exported_at": written,
    }
