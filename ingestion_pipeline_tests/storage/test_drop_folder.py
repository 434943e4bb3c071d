"""Files are read when they are finished, moved aside and never lost, in a folder and in a bucket."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyarrow import fs
from pyarrow._fs import _MockFileSystem

from ingestion_pipeline.core.errors import ConfigurationError, StoreUnavailableError, UnsafePathError
from ingestion_pipeline.domains.operations.drop import is_json
from ingestion_pipeline.storage.drop_folder import DropFolder, drop_folder

DAY = date(2025, 3, 3)
OUTSIDE = "../outside.json"


class Bucket:
    """Objects of a store in memory."""

    def __init__(self) -> None:
        self.files = _MockFileSystem(datetime(2025, 3, 3, tzinfo=UTC))
        self.files.create_dir("bucket/drops")
        self.folder = DropFolder("s3://bucket/drops", self.files, "bucket/drops", wanted=is_json)

    def put(self, path: str, content: bytes = b"{}") -> None:
        self.files.create_dir(f"bucket/drops/{path}".rpartition("/")[0])
        with self.files.open_output_stream(f"bucket/drops/{path}") as stream:
            stream.write(content)

    def contents(self) -> dict[str, bytes]:
        found = self.files.get_file_info(fs.FileSelector("bucket/drops", recursive=True))
        paths = [info.path for info in found if info.type == fs.FileType.File]
        return {path.removeprefix("bucket/drops/"): self.files.open_input_stream(path).read() for path in paths}


class Folder:
    """A folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.folder = drop_folder(str(root), wanted=is_json)

    def put(self, path: str, content: bytes = b"{}") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)

    def contents(self) -> dict[str, bytes]:
        return {str(it.relative_to(self.root)): it.read_bytes() for it in self.root.rglob("*") if it.is_file()}


Place = Bucket | Folder


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Bucket() if request.param == "bucket" else Folder(tmp_path / "drops")


def waiting(place: Place) -> list[str]:
    return [file.path for file in place.folder.files()]


def test_json_and_ndjson_files_wait_wherever_they_are(place: Place) -> None:
    for path in ("a.json", "b.ndjson", "c.jsonl", "sub/d.JSON", "sub/deep/e f.json", "ü.json"):
        place.put(path)
    assert {"a.json", "b.ndjson", "c.jsonl", "sub/d.JSON", "sub/deep/e f.json", "ü.json"} == set(waiting(place))


@pytest.mark.parametrize(
    "path",
    [
        ".a.json",
        ".uploading/a.json",
        "a.json.tmp",
        "a.json.part",
        "a.json.partial",
        "a.tmp",
        "a.csv",
        "json",
        "a.json~",
        "processed/2025-03-03/a.json",
        "rejected/2025-03-03/a.json",
        "rejected/2025-03-03/a.json.reasons.txt",
        "two\nlines.json",
    ],
)
def test_others_do_not(place: Place, path: str) -> None:
    place.put(path)
    assert [] == waiting(place)


def test_a_name_that_is_no_text_is_left_alone(tmp_path: Path) -> None:
    """It could be written neither into a cursor nor into PostgreSQL."""
    folder = Folder(tmp_path / "drops")
    Path(os.fsdecode(os.fsencode(folder.root) + b"/\xff.json")).write_bytes(b"{}")
    folder.put("a.json")
    assert ["a.json"] == waiting(folder)


def test_an_empty_file_is_not_finished(place: Place) -> None:
    place.put("a.json", b"")
    assert [] == waiting(place)


def test_a_file_that_grows_has_another_mark(place: Place) -> None:
    place.put("a.json", b"{")
    (before,) = place.folder.files()
    place.put("a.json", b"{}")
    (after,) = place.folder.files()
    assert before.mark != after.mark
    assert after.mark == place.folder.files()[0].mark


def test_a_file_that_is_rewritten_in_place_has_another_mark(tmp_path: Path) -> None:
    """With the same length."""
    folder = Folder(tmp_path / "drops")
    folder.put("a.json", b"[1]")
    (before,) = folder.folder.files()
    folder.put("a.json", b"[2]")
    os.utime(folder.root / "a.json", ns=(0, before.written_ns + 1))
    assert before.mark != folder.folder.files()[0].mark


def test_the_oldest_comes_first(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "drops")
    for seconds, path in ((30, "a.json"), (10, "b.json"), (20, "c.json")):
        folder.put(path)
        os.utime(folder.root / path, (seconds, seconds))
    assert ["b.json", "c.json", "a.json"] == waiting(folder)


def test_what_is_read_is_bounded(place: Place) -> None:
    place.put("a.json", b"x" * 100)
    assert b"x" * 100 == place.folder.read("a.json", most_bytes=100)
    assert b"x" * 11 == place.folder.read("a.json", most_bytes=10)


def test_a_processed_file_is_moved_aside(place: Place) -> None:
    place.put("sub/a.json", b"[1]")
    assert "processed/2025-03-03/sub/a.json" == place.folder.move_aside("sub/a.json", day=DAY)
    assert {"processed/2025-03-03/sub/a.json": b"[1]"} == place.contents()
    assert [] == waiting(place)


def test_one_with_problems_lies_beside_its_reasons(place: Place) -> None:
    place.put("a.ndjson", b"{")
    place.folder.move_aside("a.ndjson", day=DAY, reasons="1: ü\n")
    assert {
        "rejected/2025-03-03/a.ndjson": b"{",
        "rejected/2025-03-03/a.ndjson.reasons.txt": "1: ü\n".encode(),
    } == place.contents()


@pytest.mark.parametrize("reasons", [None, "why\n"])
def test_one_that_was_written_to_since_is_not_moved(place: Place, reasons: str | None) -> None:
    """What was read is not all of it; nothing says why, for it is read again."""
    place.put("a.json", b"[1]")
    (file,) = place.folder.files()
    place.put("a.json", b"[1, 2]")
    assert place.folder.move_aside("a.json", day=DAY, reasons=reasons, mark=file.mark) is None
    assert {"a.json": b"[1, 2]"} == place.contents()
    (file,) = place.folder.files()
    assert place.folder.move_aside("a.json", day=DAY, reasons=reasons, mark=file.mark)
    assert [] == waiting(place)


def test_one_that_cannot_be_moved_leaves_no_reasons(tmp_path: Path) -> None:
    """However often it is tried."""
    place = Folder(tmp_path / "drops")
    place.put("rejected", b"a file where the folder should be")
    place.put("a.json", b"{")
    with pytest.raises(StoreUnavailableError):
        place.folder.move_aside("a.json", day=DAY, reasons="why\n")
    assert {"rejected", "a.json"} == set(place.contents())
    with pytest.raises(StoreUnavailableError):
        Bucket().folder.move_aside("gone.json", day=DAY, reasons="why\n")


@pytest.mark.parametrize(("folder", "reasons"), [("processed", None), ("rejected", "why\n")])
def test_no_name_is_taken_twice(place: Place, folder: str, reasons: str | None) -> None:
    """The same name is dropped every day, or every hour: nothing is overwritten."""
    for number in range(3):
        place.put("a.json", str(number).encode())
        place.folder.move_aside("a.json", day=DAY, reasons=reasons)
    names = [f"{folder}/2025-03-03/{name}" for name in ("a.json", "a-2.json", "a-3.json")]
    found = place.contents()
    assert [b"0", b"1", b"2"] == [found[name] for name in names]
    assert (3 if reasons is None else 6) == len(found)


@pytest.mark.parametrize("path", [OUTSIDE, "sub/../../outside.json", "/etc/passwd.json"])
def test_a_path_that_leads_outside_is_refused(place: Place, path: str) -> None:
    """In a bucket `..` is a name like any other, until it is moved to where it leads."""
    with pytest.raises(UnsafePathError):
        place.folder.read(path, most_bytes=10)
    with pytest.raises(UnsafePathError):
        place.folder.move_aside(path, day=DAY)


def test_an_object_named_like_a_way_out_is_not_taken() -> None:
    bucket = Bucket()
    outer = DropFolder("s3://bucket", bucket.files, "bucket", wanted=is_json)
    bucket.put("../drops/a.json")
    assert [] == [file.path for file in outer.files() if ".." in file.path]


def test_a_link_that_leads_outside_is_not_taken(tmp_path: Path) -> None:
    """Whoever may put a link there may not thereby read what the worker may read."""
    folder = Folder(tmp_path / "drops")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder.root / "a.json").symlink_to(secret)
    (folder.root / "sub").symlink_to(tmp_path)
    (folder.root / "circle").symlink_to(folder.root)
    (folder.root / "loop.json").symlink_to(folder.root / "loop.json")
    (folder.root / "gone.json").symlink_to(folder.root / "nowhere.json")
    folder.put("real.json")
    (folder.root / "inside.json").symlink_to(folder.root / "real.json")
    assert ["real.json"] == waiting(folder)
    with pytest.raises(UnsafePathError):
        folder.folder.read("a.json", most_bytes=10)
    with pytest.raises(UnsafePathError):
        folder.folder.move_aside("sub/secret.json", day=DAY)
    assert secret.exists()


def test_a_file_that_cannot_be_read_says_so(place: Place) -> None:
    with pytest.raises(StoreUnavailableError, match="gone"):
        place.folder.read("gone.json", most_bytes=10)
    with pytest.raises(StoreUnavailableError, match="gone"):
        place.folder.move_aside("gone.json", day=DAY)


def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    """Asked in a process that is not root, which may read everything."""
    folder = Folder(tmp_path / "drops")
    folder.put("a.json")
    (folder.root / "a.json").chmod(0)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    code = (
        "import os, sys\n"
        "from pyarrow import fs\n"
        "os.getuid() or os.setuid(65534)\n"
        "try: fs.LocalFileSystem().open_input_stream(sys.argv[1])\n"
        "except OSError as error: print(type(error).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder.root / "a.json"], capture_output=True, text=True, check=False
    )
    assert "PermissionError\n" == done.stdout, done.stderr


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="no such folder"):
        drop_folder(str(tmp_path / "nowhere"), wanted=is_json).files()


@pytest.mark.parametrize("url", ["ftp://host/drops", "https://host/drops", "s3://key:geheim42@bucket/drops"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        drop_folder(url, wanted=is_json)
    assert "geheim42" not in str(refused.value)
    assert "DROP_URL" in str(refused.value)


def test_a_url_may_name_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert ["a.json"] == [file.path for file in drop_folder(f"file://{tmp_path}", wanted=is_json).files()]


def test_an_s3_compatible_store_has_its_own_address() -> None:
    """Opened without asking anybody; the root is bucket and prefix."""
    folder = drop_folder("s3://bucket/drops", wanted=is_json, s3_endpoint_url="http://127.0.0.1:9")
    assert "bucket/drops" == folder._root
