"""Originals: kept once, whole, unchanged; in a folder and in a bucket alike."""

import hashlib
import io
import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, StoreUnavailableError
from ingestion_pipeline.storage.kept_files import (
    PART_SECONDS,
    BucketFiles,
    FolderFiles,
    KeptFileMissingError,
    KeptFiles,
    kept_files,
)
from ingestion_pipeline_tests.children import python

CONTENT = b"a report\n" * 300_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEEPER = """
import io
import sys
from ingestion_pipeline.storage.kept_files import kept_files


class Slow(io.BytesIO):
    def read(self, size=-1):
        chunk = super().read(1000)
        if self.tell() > 5000:
            print("half", flush=True)
            sys.stdin.readline()
        return chunk


kept_files(sys.argv[1]).keep(Slow(b"x" * 10_000))
"""


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> KeptFiles:
    """Arrow's local filesystem stands for buckets: it is asked in the same way."""
    root = tmp_path / "reports"
    return FolderFiles(root) if request.param == "folder" else BucketFiles(f"file://{root}")


def stored(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_what_is_kept_is_found_by_its_sha256(files: KeptFiles) -> None:
    """Wherever the file was read to before."""
    file = io.BytesIO(CONTENT)
    file.seek(1000)
    assert SHA256 == files.keep(file)
    with files.opened(SHA256) as kept:
        assert CONTENT == kept.read()


def test_the_same_file_is_kept_once(files: KeptFiles, tmp_path: Path) -> None:
    """However often it comes, also from several at the same time."""
    threads = [threading.Thread(target=lambda: files.keep(io.BytesIO(CONTENT))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [tmp_path / "reports" / SHA256[:2] / SHA256] == stored(tmp_path / "reports")


@pytest.mark.parametrize("sha256", ["0" * 64, "../../etc/passwd", "", SHA256.upper(), "0" * 63])
def test_what_was_never_kept_is_missing(files: KeptFiles, sha256: str) -> None:
    """Whatever is asked for, no other file is opened."""
    files.keep(io.BytesIO(b"another"))
    with pytest.raises(KeptFileMissingError), files.opened(sha256):
        pass


def test_a_file_that_was_changed_since_is_noticed_and_mended(files: KeptFiles, tmp_path: Path) -> None:
    """It is not read as if it were the original; sent again, the original is back."""
    files.keep(io.BytesIO(CONTENT))
    path = tmp_path / "reports" / SHA256[:2] / SHA256
    path.chmod(0o640)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ContractError, match="SHA-256"), files.opened(SHA256):
        pass
    files.keep(io.BytesIO(CONTENT))
    with files.opened(SHA256) as kept:
        assert CONTENT == kept.read()


def test_nobody_else_reads_what_is_kept_in_a_folder(tmp_path: Path) -> None:
    """Reports hold incomes: the folder is the service's, the files are not written again."""
    FolderFiles(tmp_path / "reports").keep(io.BytesIO(CONTENT))
    assert 0o700 == stat.S_IMODE((tmp_path / "reports").stat().st_mode)
    assert 0o440 == stat.S_IMODE((tmp_path / "reports" / SHA256[:2] / SHA256).stat().st_mode)


def test_a_process_killed_in_the_middle_leaves_no_half_file(tmp_path: Path) -> None:
    """Only a part under another name, which goes after a day."""
    with python(KEEPER, str(tmp_path)) as child:
        assert child.stdout is not None
        assert "half\n" == child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        assert -signal.SIGKILL == child.wait()
    (part,) = stored(tmp_path)
    assert ".part" == part.suffix
    files = FolderFiles(tmp_path)
    files.keep(io.BytesIO(CONTENT))
    assert part.exists()
    old = part.stat().st_mtime - PART_SECONDS - 1
    os.utime(part, (old, old))
    files.keep(io.BytesIO(CONTENT))
    assert [tmp_path / SHA256[:2] / SHA256] == stored(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_store_that_is_away(tmp_path: Path) -> None:
    """The job is tried again; the reason is told."""
    (tmp_path / "file").write_text("not a folder")
    for files in (FolderFiles(tmp_path / "file"), BucketFiles(f"file://{tmp_path}/file")):
        with pytest.raises(StoreUnavailableError, match="file"):
            files.keep(io.BytesIO(CONTENT))


@pytest.mark.parametrize("url", ["ftp://x/y", "https://x/y"])
def test_a_url_of_another_kind_is_a_wrong_setting(url: str) -> None:
    """Told before anything is sent to it."""
    with pytest.raises(ConfigurationError, match="SALES_FILES_URL"):
        kept_files(url)


def test_folders_and_file_urls_are_the_same_place(tmp_path: Path) -> None:
    """A file that was kept through one is read through the other."""
    kept_files(str(tmp_path)).keep(io.BytesIO(CONTENT))
    with kept_files(f"file://{tmp_path}").opened(SHA256) as kept:
        assert CONTENT == kept.read()
