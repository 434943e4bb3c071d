"""Originals kept once under their SHA-256, in a folder or a bucket: `<root>/ab/ab12…`.

What is kept is never changed and appears whole or not at all; a process that is killed leaves at most a `.part` file,
which the next one removes after a day. Belongs here: bytes in and out. Does not belong here: whose they are.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from ingestion_pipeline.core.errors import (
    ConfigurationError,
    ContractError,
    PermanentError,
    StoreUnavailableError,
)
from ingestion_pipeline.core.ids import new_id

CHUNK_BYTES = 1024**2
PART_SECONDS = 86_400
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCHEMES = ("s3://", "gs://", "file://")
_FULL_DISK = 28


class KeptFileMissingError(PermanentError):
    """No file is kept under this SHA-256."""


class KeptFiles(Protocol):
    """Where originals are kept.

    Raises:
        StoreUnavailableError: from both, when the folder or bucket cannot be read, or written.
    """

    def keep(self, file: BinaryIO) -> str:
        """Keeps what is in `file`, read from its beginning; its SHA-256 in hexadecimal."""
        ...

    def opened(self, sha256: str) -> Any:
        """A context with the kept file, open for reading and checked against `sha256`.

        Raises:
            KeptFileMissingError: nothing is kept under `sha256`.
            ContractError: what is kept is not what was given.
        """
        ...


class FolderFiles:
    """A folder of this machine, or one that several share."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, file: BinaryIO) -> str:
        try:
            return self._keep(file)
        except OSError as error:
            reason = "the disk is full" if error.errno == _FULL_DISK else str(error)
            raise StoreUnavailableError(str(self._root), reason) from error

    @contextmanager
    def opened(self, sha256: str) -> Iterator[BinaryIO]:
        _require_sha256(sha256)
        path = self._path(sha256)
        try:
            kept = path.open("rb")
        except FileNotFoundError:
            raise KeptFileMissingError(f"no file is kept under {sha256}") from None
        except OSError as error:
            raise StoreUnavailableError(str(self._root), str(error)) from error
        with kept:
            _require_same(kept, sha256, str(path))
            yield kept

    def _keep(self, file: BinaryIO) -> str:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self._root / f"{new_id()}.part"
        self._tidy()
        try:
            with part.open("xb") as copy:
                sha256 = _digest(file, copy)
                copy.flush()
                os.fsync(copy.fileno())
            path = self._path(sha256)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            part.chmod(0o440)
            part.replace(path)  # over the same bytes, or over what had been damaged
            _sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
        return sha256

    def _path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    def _tidy(self) -> None:
        """Removes what killed processes left."""
        oldest = time.time() - PART_SECONDS
        for part in self._root.glob("*.part"):
            with suppress(FileNotFoundError):
                if part.stat().st_mtime < oldest:
                    part.unlink()


class BucketFiles:
    """A bucket, through Arrow's filesystems; an object appears when it is complete."""

    def __init__(self, url: str, *, s3_endpoint_url: str | None = None) -> None:
        from pyarrow import fs

        self._url = url
        if url.startswith("s3://") and s3_endpoint_url:
            self._files: Any = fs.S3FileSystem(endpoint_override=s3_endpoint_url)
            self._root = url.removeprefix("s3://").rstrip("/")
        else:
            try:
                self._files, root = fs.FileSystem.from_uri(url)
            except (ValueError, OSError) as error:
                raise ConfigurationError("SALES_FILES_URL", url, f"a bucket that can be opened: {error}") from error
            self._root = root.rstrip("/")

    def keep(self, file: BinaryIO) -> str:
        from pyarrow import fs

        sha256 = _digest(file)
        size = file.seek(0, os.SEEK_END)
        path = self._path(sha256)
        try:
            found = self._files.get_file_info(path)
            if found.type == fs.FileType.File and found.size == size:
                return sha256
            self._files.create_dir(path.rpartition("/")[0], recursive=True)
            with self._files.open_output_stream(path) as copy:
                shutil.copyfileobj(_rewound(file), copy, CHUNK_BYTES)
        except OSError as error:
            raise StoreUnavailableError(self._url, str(error).partition("\n")[0]) from error
        return sha256

    @contextmanager
    def opened(self, sha256: str) -> Iterator[BinaryIO]:
        _require_sha256(sha256)
        with tempfile.TemporaryFile() as copy:
            try:
                with self._files.open_input_stream(self._path(sha256)) as kept:
                    shutil.copyfileobj(kept, copy, CHUNK_BYTES)
            except FileNotFoundError:
                raise KeptFileMissingError(f"no file is kept under {sha256}") from None
            except OSError as error:
                raise StoreUnavailableError(self._url, str(error).partition("\n")[0]) from error
            _require_same(copy, sha256, f"{self._url}/{sha256}")
            yield copy

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"


def kept_files(url: str, *, s3_endpoint_url: str | None = None) -> KeptFiles:
    """The originals at `url`: a folder, file://, s3:// or gs://; credentials are those of the machine.

    Raises:
        ConfigurationError: `url` is none of these.
    """
    if "://" not in url:
        return FolderFiles(Path(url).absolute())
    if not url.startswith(_SCHEMES):
        raise ConfigurationError("SALES_FILES_URL", url, f"a folder or a URL that starts with {' or '.join(_SCHEMES)}")
    if url.startswith("file://"):
        return FolderFiles(Path(url.removeprefix("file://")))
    return BucketFiles(url, s3_endpoint_url=s3_endpoint_url)


def _digest(file: BinaryIO, copy: IO[bytes] | None = None) -> str:
    """The SHA-256 of `file`, which is copied to `copy` meanwhile."""
    digest = hashlib.sha256()
    _rewound(file)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        if copy is not None:
            copy.write(chunk)
    return digest.hexdigest()


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _require_same(kept: BinaryIO, sha256: str, where: str) -> None:
    """Whoever reads a ledger row must find what was read then, not what somebody put there since."""
    seen = _digest(kept)
    if seen != sha256:
        raise ContractError(where, "SHA-256", seen, sha256)
    kept.seek(0)


def _require_sha256(sha256: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise KeptFileMissingError(f"{sha256[:80]!r} is no SHA-256")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
