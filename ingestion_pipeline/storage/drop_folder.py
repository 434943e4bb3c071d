"""A folder or bucket into which others put files: which of them are complete, their bytes, moving them aside.

A file is taken when it has been quiet for QUIET_TICKS. What was read goes to `processed/<date>/` or, beside what was
wrong with it, to `rejected/<date>/`. Nothing is deleted and no name is taken twice. Belongs here: files. Does not
belong here: what is in them (domains/operations/drop.py, domains/sales/report_drop.py).
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import count, islice
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import BinaryIO

import pyarrow as pa
import structlog
from pyarrow import fs

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, IngestionError, StoreUnavailableError, UnsafePathError

TICK_SECONDS = 15
QUIET_TICKS = 2
FAILURE_TICKS = 20  # that a file which could not be taken waits for the next attempt
FILES_PER_TICK = 1_000
FILES_WATCHED = 10_000  # whose marks a cursor holds
WORK_SECONDS = 20.0  # then the rest waits for the next tick: Dagster ends one after a minute
LARGE_BYTES = 2_000_000  # of a file that is begun only in the first quarter of them
PROCESSED, REJECTED = "processed", "rejected"
_ASIDE = frozenset({PROCESSED, REJECTED})
_SCHEMES = ("s3://", "gs://", "file://")


Marks = Mapping[str, tuple[int, int, int]]
"""By path: size, when it was written, and for how many ticks it has been so; negative after a failure."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DroppedFile:
    """One file: its path below the folder, its size, when it was written (nanoseconds since 1970; 0 if unknown)."""

    path: str
    size_bytes: int
    written_ns: int

    @property
    def mark(self) -> tuple[int, int]:
        """Changes whenever the file does."""
        return self.size_bytes, self.written_ns


class DropFolder:
    """The files at `root` of `filesystem` that are `wanted`, judged by their path below it.

    Raises:
        StoreUnavailableError: from every method, when a file or the bucket cannot be read, or written.
    """

    def __init__(self, url: str, filesystem: fs.FileSystem, root: str, *, wanted: Callable[[str], bool]) -> None:
        self.url = url
        self._files = filesystem
        self._wanted = wanted
        self._root = root.rstrip("/")
        self._local = Path(root).resolve() if isinstance(filesystem, fs.LocalFileSystem) else None

    def files(self) -> list[DroppedFile]:
        """The finished ones that wait to be read, oldest first; an empty one is not finished."""
        return self.look()[0]

    def look(self) -> tuple[list[DroppedFile], list[str]]:
        """`files()`, and the paths of what lies there and is not wanted."""
        with self._reached(self.url):
            if self._files.get_file_info(self._root).type != fs.FileType.Directory:
                raise StoreUnavailableError(self.url, "there is no such folder")
            found = list(self._listed() if self._local is None else self._walked(self._local))
        seen = [it for it in found if it.size_bytes and _is_waiting(it.path) and self._is_inside(it.path)]
        waiting = sorted((it for it in seen if self._wanted(it.path)), key=lambda it: (it.written_ns, it.path))
        return waiting, sorted(it.path for it in seen if not self._wanted(it.path))

    def file(self, path: str) -> DroppedFile | None:
        """The file at `path`, None if there is none.

        Raises:
            UnsafePathError: `path` is outside.
        """
        self._require_inside(path)
        with self._reached(path):
            info = self._files.get_file_info(self._full(path))
        return DroppedFile(path, info.size, info.mtime_ns or 0) if info.type == fs.FileType.File else None

    def is_quiet(self, file: DroppedFile) -> bool:
        """Was it written long enough ago to be whole? An object of a bucket appears whole."""
        age_seconds = utc_now().timestamp() - file.written_ns / 1e9
        return self._local is None or age_seconds >= QUIET_TICKS * TICK_SECONDS

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """The file, to be read from its beginning."""
        self._require_inside(path)
        with self._reached(path), self._files.open_input_stream(self._full(path)) as stream:
            yield stream

    def read(self, path: str, *, most_bytes: int) -> bytes:
        """The file's bytes, or the first `most_bytes` and one more."""
        with self.opened(path) as stream:
            return bytes(stream.read(most_bytes + 1))

    def move_aside(
        self, path: str, *, day: date, reasons: str | None = None, mark: tuple[int, int] | None = None
    ) -> str | None:
        """Moves the file to `processed/<day>/`, with `reasons` to `rejected/<day>/`; returns its new path.

        None if it no longer has the `mark` that is given: then it lies where it was, or beside what came there since.
        """
        self._require_inside(path)
        folder = f"{PROCESSED if reasons is None else REJECTED}/{day.isoformat()}"
        with self._reached(path):
            target = self._free(f"{folder}/{path}")
            self._files.create_dir(self._full(str(PurePosixPath(target).parent)), recursive=True)
            self._files.move(self._full(path), self._full(target))
            if mark is not None and not self._has_mark(target, mark):
                self._files.move(self._full(target), self._full(self._free(path)))
                return None
            if reasons is not None:
                with self._files.open_output_stream(self._full(f"{target}.reasons.txt")) as stream:
                    stream.write(reasons.encode())
        return target

    def _has_mark(self, path: str, mark: tuple[int, int]) -> bool:
        """Of a moved file; in a bucket that has a new time."""
        size_bytes, written_ns = mark
        info = self._files.get_file_info(self._full(path))
        return info.size == size_bytes and (self._local is None or (info.mtime_ns or 0) == written_ns)

    def _listed(self) -> Iterator[DroppedFile]:
        """Of a bucket, without what was moved aside: that grows, and would be listed in every tick."""
        for info in self._files.get_file_info(fs.FileSelector(self._root)):
            parts = [info]
            if info.type == fs.FileType.Directory and info.base_name not in _ASIDE:
                parts = self._files.get_file_info(fs.FileSelector(info.path, recursive=True))
            for part in parts:
                if part.type == fs.FileType.File:
                    yield DroppedFile(self._relative(part.path), part.size, part.mtime_ns or 0)

    def _walked(self, root: Path) -> Iterator[DroppedFile]:
        """Of a folder, without following links, which may lead outside or in circles."""
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if Path(folder) != root or name not in _ASIDE]
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):  # moved meanwhile
                    found = path.lstat()
                    if S_ISREG(found.st_mode):
                        yield DroppedFile(str(path.relative_to(root)), found.st_size, found.st_mtime_ns)

    def _free(self, path: str) -> str:
        """`path`, or the first of `name-2`, `name-3` ... that nothing has."""
        wanted = PurePosixPath(path)
        names = (wanted if n == 1 else wanted.with_name(f"{wanted.stem}-{n}{wanted.suffix}") for n in count(1))
        return next(str(name) for name in names if not self._is_taken(str(name)))

    def _is_taken(self, path: str) -> bool:
        full = self._full(path)
        found = self._files.get_file_info([full, f"{full}.reasons.txt"])
        return any(info.type != fs.FileType.NotFound for info in found)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _relative(self, full: str) -> str:
        return full.removeprefix(self._root).lstrip("/")

    def _is_inside(self, path: str) -> bool:
        """A name may hold `..` in a bucket, and be or pass through a link in a folder."""
        if ".." in PurePosixPath(path).parts or path.startswith("/"):
            return False
        return self._local is None or (self._local / path).resolve() == self._local / path

    def _require_inside(self, path: str) -> None:
        if not self._is_inside(path):
            raise UnsafePathError(path, self.url)

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise StoreUnavailableError(what, str(error).partition("\n")[0]) from error


def take_quiet(waiting: Iterable[DroppedFile], take: Callable[[DroppedFile], bool], *, seen: Marks) -> Marks:
    """Gives `take` each of those `waiting` that has been quiet since it was `seen`; the marks of those that are left.

    `take` is False for a file that was written to meanwhile. One that it cannot take now is tried again later.
    """
    started = time.monotonic()
    files = [(file, _quiet_ticks(file, seen)) for file in waiting]
    files = sorted(files, key=lambda it: it[1] < 0)[:FILES_WATCHED]  # those that failed last
    left = {file.path: (*file.mark, ticks) for file, ticks in files}
    for file in islice((file for file, ticks in files if ticks >= QUIET_TICKS), FILES_PER_TICK):
        if not _has_time(file, time.monotonic() - started):
            continue
        try:
            if take(file):
                del left[file.path]
        except (IngestionError, OSError) as error:
            _log.warning("a dropped file is left where it is", path=file.path, reason=str(error))
            left[file.path] = (*file.mark, -FAILURE_TICKS)
    return left


def drop_folder(
    url: str, *, wanted: Callable[[str], bool], setting: str = "DROP_URL", s3_endpoint_url: str | None = None
) -> DropFolder:
    """The folder at `url`: a path, file://, s3:// or gs://; credentials are those of the machine.

    Raises:
        ConfigurationError: `url`, the value of `setting`, is none of these.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ConfigurationError(setting, "***", "a URL without a user or password")
    if "://" not in url:
        return DropFolder(url, fs.LocalFileSystem(), str(Path(url).absolute()), wanted=wanted)
    if not url.startswith(_SCHEMES):
        raise ConfigurationError(setting, url, f"a folder or a URL that starts with {' or '.join(_SCHEMES)}")
    if url.startswith("s3://") and s3_endpoint_url:
        store = fs.S3FileSystem(endpoint_override=s3_endpoint_url)
        return DropFolder(url, store, url.removeprefix("s3://"), wanted=wanted)
    try:
        filesystem, root = fs.FileSystem.from_uri(url)
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(setting, url, f"a bucket that can be opened: {error}") from error
    return DropFolder(url, filesystem, root, wanted=wanted)


def _quiet_ticks(file: DroppedFile, seen: Marks) -> int:
    *mark, ticks = seen.get(file.path, (0, 0, 0))
    return ticks + 1 if tuple(mark) == file.mark else 0


def _has_time(file: DroppedFile, seconds: float) -> bool:
    return seconds < (WORK_SECONDS / 4 if file.size_bytes > LARGE_BYTES else WORK_SECONDS)


def _is_waiting(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return parts[0] not in _ASIDE and not any(part.startswith(".") for part in parts) and path.isprintable()
