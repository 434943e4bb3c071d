"""Report files that are dropped below `<drop>/<platform>/`: kept, queued as jobs, moved aside.

A file is taken when it looks the same twice in a row. A process that is killed leaves it where it is; taken again it is
the same file and the same job. Belongs here: from a folder to jobs. Does not belong here: what is in a report.
"""

import json
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath

import dagster as dg
import structlog
from pyarrow import fs

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import (
    ConfigurationError,
    IngestionError,
    PermanentError,
    StoreUnavailableError,
    TransientError,
)
from ingestion_pipeline.domains.sales.jobs import PLATFORMS, RECEIVE_FILE, SalesOptions, ingest_job, sales_options
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.drop_folder import DropFolder, DroppedFile, drop_folder
from ingestion_pipeline.storage.jobs import ENQUEUE
from ingestion_pipeline.storage.kept_files import KeptFiles, kept_files
from ingestion_pipeline.storage.postgres import Postgres

TICK_SECONDS = 1
FILES_PER_TICK = 20
MOST_FILE_BYTES = 200 * 1024**2
ENDINGS = frozenset({".xlsx", ".xls", ".csv", ".tsv", ".txt"})
LONGEST_NAME = 200

Marks = Mapping[str, tuple[int, int]]

_log = structlog.get_logger(__name__)


class ReportFolder(DropFolder):
    """The drop folder, as far as reports wait in it."""

    @classmethod
    def at(cls, options: SalesOptions) -> "ReportFolder":
        """Raises ConfigurationError where there is none."""
        if options.drop_url is None:
            raise ConfigurationError("SALES_DROP_URL", "", "a folder or bucket, to take report files from")
        folder = drop_folder(options.drop_url, s3_endpoint_url=options.s3_endpoint_url)
        return cls(folder.url, folder._files, folder._root)  # noqa: SLF001 - until drop_folder takes the endings

    def files(self) -> list[DroppedFile]:
        """The reports that wait, oldest first."""
        with self._reached(self.url):
            if self._files.get_file_info(self._root).type != fs.FileType.Directory:
                raise StoreUnavailableError(self.url, "there is no such folder")
            found = list(self._listed() if self._local is None else self._walked(self._local))
        waiting = [it for it in found if it.size_bytes and platform_of(it.path) and self._is_inside(it.path)]
        return sorted(waiting, key=lambda it: (it.written_ns, it.path))


def platform_of(path: str) -> str | None:
    """The platform whose folder a waiting report is in; None for what is none, or is still being written."""
    parts = PurePosixPath(path).parts
    is_report = PurePosixPath(path).suffix.lower() in ENDINGS and path.isprintable()
    is_hidden = any(part.startswith((".", "~$")) for part in parts)
    return parts[0] if len(parts) > 1 and parts[0] in PLATFORMS and is_report and not is_hidden else None


def kept_from_drop(postgres: Postgres, options: SalesOptions, files: KeptFiles, platform: str, path: str) -> str:
    """Keeps the file at `path` of the drop folder as one of `platform`; its SHA-256.

    Raises:
        UnsafePathError: `path` is outside the folder.
        PermanentError: there is no such file, or it is too large.
        TransientError: it was written meanwhile.
    """
    folder = ReportFolder.at(options)
    marks = {file.path: file for file in folder.files()}
    file = marks.get(path)
    if file is None:
        folder.read(path, most_bytes=0)  # says whether it is outside, or is not there
        raise PermanentError(f"{path!r} is no report file that waits in {folder.url}")
    sha256, _ = _keep(postgres, options, files, folder, file, platform=platform, with_job=False)
    return sha256


def queue_waiting(postgres: Postgres, options: SalesOptions, platform: str) -> int:
    """Makes jobs of all files that wait for `platform`; how many."""
    folder = ReportFolder.at(options)
    seen = {it.path: it.mark for it in folder.files() if platform_of(it.path) == platform}
    taken, _ = take_reports(postgres, options, folder, seen=seen)
    return taken


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
    seen = {path: (size, written) for path, (size, written) in json.loads(context.cursor or "{}").items()}
    taken, marks = take_reports(postgres, options, ReportFolder.at(options), seen=seen)
    context.update_cursor(json.dumps(marks))
    return dg.SkipReason(f"{taken} report(s) queued; {len(marks)} file(s) are not finished")


def take_reports(
    postgres: Postgres, options: SalesOptions, folder: ReportFolder, *, seen: Marks
) -> tuple[int, dict[str, tuple[int, int]]]:
    """Queues the files that are as they were when `seen`; how many, and the marks of those that are left.

    Raises:
        StoreUnavailableError: PostgreSQL or the folder is away.
    """
    files = kept_files(options.files_url, s3_endpoint_url=options.s3_endpoint_url)
    taken, left = 0, {}
    with postgres.exclusive("dropped reports"):
        for file in folder.files():
            if seen.get(file.path) != file.mark or taken >= FILES_PER_TICK:
                left[file.path] = file.mark
                continue
            try:
                _take(postgres, options, files, folder, file)
                taken += 1
            except (IngestionError, OSError) as error:
                _log.warning("a dropped report is left where it is", path=file.path, reason=str(error))
                left[file.path] = file.mark
    return taken, left


def _take(postgres: Postgres, options: SalesOptions, files: KeptFiles, folder: ReportFolder, file: DroppedFile) -> None:
    """Keeps and queues the file, then moves it aside."""
    reason = None
    try:
        _, job_id = _keep(postgres, options, files, folder, file, platform=platform_of(file.path) or "", with_job=True)
        _log.info("a dropped report is queued", path=file.path, job_id=job_id)
    except PermanentError as error:
        reason = str(error)
        _log.warning("a dropped report is refused", path=file.path, reason=reason)
    folder.move_aside(file.path, day=utc_now().date(), reasons=reason)


def _keep(
    postgres: Postgres,
    options: SalesOptions,
    files: KeptFiles,
    folder: ReportFolder,
    file: DroppedFile,
    *,
    platform: str,
    with_job: bool,
) -> tuple[str, str | None]:
    if file.size_bytes > MOST_FILE_BYTES:
        raise PermanentError(f"{file.path!r} is larger than {MOST_FILE_BYTES // 1024**2} MB")
    content = folder.read(file.path, most_bytes=MOST_FILE_BYTES)
    if len(content) != file.size_bytes:
        raise TransientError(f"{file.path!r} changed while it was read")
    with tempfile.SpooledTemporaryFile() as copy:
        copy.write(content)
        sha256 = files.keep(copy)  # type: ignore[arg-type]
    name = PurePosixPath(file.path).name[-LONGEST_NAME:]
    written = datetime.fromtimestamp(file.written_ns / 1e9, UTC) if file.written_ns else None
    facts = {"owner_id": options.owner, "sha256": sha256, "platform": platform, "name": name}
    with postgres.transaction() as connection:
        connection.execute(RECEIVE_FILE, {**facts, "size_bytes": file.size_bytes, "exported_at": written})
        if not with_job:
            return sha256, None
        new = ingest_job(platform, {"file_sha256": sha256, "name": name}, owner_id=options.owner)
        row = connection.execute(ENQUEUE.encode(), new.parameters()).fetchone()
    return sha256, row and str(row[0])
