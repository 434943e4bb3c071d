"""Dropped files become deliveries, each record once; what is wrong is said beside the file."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.domains.operations import drop
from ingestion_pipeline.domains.operations.drop import Taken, deliveries_folder, drop_sensor, take_files
from ingestion_pipeline.domains.operations.received import Reader
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import drop_folder
from ingestion_pipeline.storage.drop_folder import QUIET_TICKS, DropFolder, Marks
from ingestion_pipeline.storage.inbox import NewDelivery, accept_all
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.operations.deliveries import TYPES, kept, make_body

READER = Reader(TYPES, named_sources={"acme"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "drops"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(root: Path) -> DropFolder:
    return deliveries_folder(str(root))


def seen_quiet(postgres: Postgres, folder: DropFolder, marks: Marks | None = None) -> Marks:
    """The marks of the files after so many ticks that the next one takes them."""
    for _ in range(QUIET_TICKS):
        taken, marks = take_files(postgres, folder, READER, seen=marks or {})
        assert Taken() == taken
    return marks or {}


def take(postgres: Postgres, folder: DropFolder) -> Taken:
    """Files are seen, found quiet, taken."""
    taken, left = take_files(postgres, folder, READER, seen=seen_quiet(postgres, folder))
    assert {} == left
    return taken


def lines(*bodies: Mapping[str, Any] | bytes) -> bytes:
    return b"\n".join(body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies)


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def reasons(root: Path) -> str:
    (path,) = root.glob("rejected/*/*.reasons.txt")
    return path.read_text()


def test_a_json_file_is_one_delivery(postgres: Postgres, folder: DropFolder, root: Path, database_url: str) -> None:
    (root / "a.json").write_bytes(lines(make_body()))
    assert Taken(files=1, accepted=1) == take(postgres, folder)
    (row,) = kept(database_url)
    assert (make_body(), "external-provider", "file", str(root), "a.json#1", "pending", "dallas") == (
        row["payload"], row["source"], row["scheme"], row["signed_by"], row["origin"], row["status"],
        row["market_slug"],
    )  # fmt: skip
    (name,) = names(root)
    assert name.startswith("processed/20")
    assert name.endswith("/a.json")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([make_body(id=str(n)) for n in range(3)]).encode()),
        ("a.ndjson", lines(*(make_body(id=str(n)) for n in range(3)))),
        ("a.jsonl", lines(*(make_body(id=str(n)) for n in range(3))) + b"\n"),
        ("a.ndjson", b"\r\n\r\n".join(lines(make_body(id=str(n))) for n in range(3))),
        ("a.ndjson", b"\xef\xbb\xbf" + lines(*(make_body(id=str(n)) for n in range(3)))),
        ("a.JSON", b"\xef\xbb\xbf\n " + json.dumps([make_body(id=str(n)) for n in range(3)], indent=2).encode()),
    ],
    ids=["array", "lines", "with a last newline", "of Windows", "with a mark", "large, indented"],
)
def test_a_file_may_hold_many(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str, name: str, content: bytes
) -> None:
    (root / name).write_bytes(content)
    assert Taken(files=1, accepted=3) == take(postgres, folder)
    assert ["0", "1", "2"] == [row["idempotency_key"] for row in kept(database_url)]


def test_a_source_is_the_record_s_or_files(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str
) -> None:
    """Also one with secrets of its own: whoever may write here is trusted."""
    bodies = [make_body(source=source, id="1") for source in ("acme", None)]
    (root / "a.ndjson").write_bytes(lines(*bodies, {"type": "series.update", "data": {"series_id": "x"}}))
    assert 3 == take(postgres, folder).accepted
    assert [("acme", "a.ndjson#1"), ("files", "a.ndjson#2"), ("files", "a.ndjson#3")] == [
        (row["source"], row["origin"]) for row in kept(database_url)
    ]


def test_a_file_is_read_when_it_has_stopped_growing(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str
) -> None:
    """Half of it is never taken for a whole, at whatever tick one looks."""
    content, marks = lines(make_body()), {}
    for length in (10, 50, len(content)):
        (root / "a.json").write_bytes(content[:length])
        taken, marks = take_files(postgres, folder, READER, seen=marks)
        assert (Taken(), {"a.json"}) == (taken, set(marks))
    for _ in range(QUIET_TICKS - 1):
        taken, marks = take_files(postgres, folder, READER, seen=marks)
        assert Taken() == taken
    assert [] == kept(database_url)
    taken, marks = take_files(postgres, folder, READER, seen=marks)
    assert (1, {}) == (taken.accepted, marks)


def test_a_writer_may_pause_for_a_tick(postgres: Postgres, folder: DropFolder, root: Path, database_url: str) -> None:
    """And go on in the file that it has open: nothing of it is lost."""
    with (root / "slow.ndjson").open("ab", buffering=0) as writer:
        writer.write(lines(make_body(id="1")) + b"\n")
        _, marks = take_files(postgres, folder, READER, seen={})
        _, marks = take_files(postgres, folder, READER, seen=marks)
        writer.write(lines(make_body(id="2")) + b"\n")
    taken, _ = take_files(postgres, folder, READER, seen=seen_quiet(postgres, folder, marks))
    assert (1, 2) == (taken.files, taken.accepted)
    assert ["1", "2"] == [row["idempotency_key"] for row in kept(database_url)]


def test_a_file_that_is_written_to_while_it_is_taken_is_taken_again(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole: what was taken before is a duplicate."""
    writer = (root / "a.ndjson").open("ab", buffering=0)
    writer.write(lines(make_body(id="1")) + b"\n")
    marks = seen_quiet(postgres, folder)
    move_aside = folder.move_aside

    def late(path: str, **given: Any) -> str | None:
        writer.write(lines(make_body(id="2")) + b"\n")
        return move_aside(path, **given)

    with monkeypatch.context() as patched, writer:
        patched.setattr(folder, "move_aside", late)
        taken, marks = take_files(postgres, folder, READER, seen=marks)
    assert (0, 1, {"a.ndjson"}, {"a.ndjson"}) == (taken.files, taken.accepted, set(marks), names(root))
    taken, left = take_files(postgres, folder, READER, seen=seen_quiet(postgres, folder, marks))
    assert (Taken(files=1, accepted=1, duplicates=1), {}) == (taken, left)
    assert 2 == len(kept(database_url))


def test_a_file_that_grows_while_it_is_read_is_left(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.json").write_bytes(b"{}")
    marks = seen_quiet(postgres, folder)
    read = folder.read

    def late(path: str, *, most_bytes: int) -> bytes:
        (root / "a.json").write_bytes(lines(make_body()))
        return read(path, most_bytes=most_bytes)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "read", late)
        taken, marks = take_files(postgres, folder, READER, seen=marks)
    assert (Taken(), ["a.json"], []) == (taken, list(marks), kept(database_url))
    assert 1 == take(postgres, folder).accepted


def test_good_records_go_on_and_bad_ones_are_named(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str
) -> None:
    """By their line, beside the file; those that are JSON are kept with the reason, as a webhook is."""
    bodies = [
        make_body(id="good"),
        make_body(id="bad", data={}),
        b"{",
        b"",
        b'{"a": "\xff"}',
        b'{"event_type": "anything.at_all", "data": "\\u0000"}',
        b"[1, 2]",
        b'{"event_type": "anything.at_all", "data": 1e-20000}',
        make_body(id="last"),
    ]
    (root / "a.ndjson").write_bytes(lines(*bodies))
    taken = take(postgres, folder)
    assert (2, 0, 6) == (taken.accepted, taken.duplicates, taken.rejected)
    said = reasons(root).splitlines()
    assert ["2", "3", "5", "6", "7", "8"] == sorted(line.partition(":")[0] for line in said)
    assert "data.as_of" in next(line for line in said if line.startswith("2:"))
    assert {"good": "pending", "bad": "rejected", "last": "pending"}.items() <= {
        row["idempotency_key"]: row["status"] for row in kept(database_url)
    }.items()
    assert {"rejected"} == {name.partition("/")[0] for name in names(root)}
    assert bodies[2] in next(root.glob("rejected/*/a.ndjson")).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{", "not JSON"),
        ("a.json", b"[{}", "not JSON"),
        ("a.json", b"\xff\xfe{\x00", "UTF-8"),
        ("a.json", b"[\xff]", "UTF-8"),
        ("a.json", b"  \n ", "no record"),
        ("a.json", b"[]", "no record"),
        ("a.ndjson", b"\n\n", "no record"),
        ("a.json", b"[" * 100_000, "nests"),
        ("a.json", b"[" + b"[" * 50_000 + b"]" * 50_000 + b"]", "nests"),
        ("a.json", b'"text"', "body is str"),
        ("a.json", b"17", "body is int"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_file_that_cannot_be_used_is_moved_aside_with_the_reason(
    postgres: Postgres, folder: DropFolder, root: Path, name: str, content: bytes, said: str
) -> None:
    (root / name).write_bytes(content)
    assert 0 == take(postgres, folder).accepted
    assert said in reasons(root)


def test_a_file_that_is_too_large_is_moved_aside(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unread: memory is bounded."""
    monkeypatch.setattr(drop, "MOST_FILE_BYTES", 10)
    (root / "a.json").write_bytes(lines(make_body()))
    assert (1, 0) == ((taken := take(postgres, folder)).files, taken.accepted)
    assert "larger than 10 bytes" in reasons(root)
    assert [] == kept(database_url)


def test_reasons_are_bounded(
    postgres: Postgres, folder: DropFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop, "MOST_REASONS", 3)
    (root / "a.ndjson").write_bytes(b"x\n" * 10)
    take(postgres, folder)
    assert ["1:", "2:", "3:", "and"] == [line.split()[0] for line in reasons(root).splitlines()]
    assert "and 7 more" in reasons(root)


def test_the_same_file_again_changes_nothing(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str
) -> None:
    """By the records' ids, or their digests; the files are both kept."""
    bodies = [make_body(), make_body(id="1")]
    for _ in range(2):
        (root / "a.ndjson").write_bytes(lines(*bodies))
        taken = take(postgres, folder)
    assert Taken(files=1, duplicates=2) == taken
    assert 2 == len(kept(database_url))
    assert {"a.ndjson", "a-2.ndjson"} == {name.rpartition("/")[2] for name in names(root)}


def test_a_record_that_a_webhook_brought_is_its_duplicate(postgres: Postgres, folder: DropFolder, root: Path) -> None:
    delivery = NewDelivery(
        source="external-provider",
        idempotency_key="evt-1",
        event_type="prices.upsert",
        payload=b"{}",
        scheme="sha256",
        signed_by="x",
    )
    with postgres.transaction() as connection:
        accept_all(connection, [delivery])
    (root / "a.json").write_bytes(lines(make_body(id="evt-1")))
    assert Taken(files=1, duplicates=1) == take(postgres, folder)


def test_a_move_that_fails_leaves_the_file_and_its_deliveries_once(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process is killed between the two."""
    (root / "a.json").write_bytes(lines(make_body()))

    def refuse(path: str, **_: Any) -> str:
        raise StoreUnavailableError(path, "Permission denied")

    marks = seen_quiet(postgres, folder)
    with monkeypatch.context() as patched:
        patched.setattr(folder, "move_aside", refuse)
        taken, marks = take_files(postgres, folder, READER, seen=marks)
    assert (1, 0, ["a.json"]) == (taken.accepted, taken.files, list(marks))
    assert {"a.json"} == names(root)
    assert Taken(files=1, duplicates=1) == take(postgres, folder)
    assert 1 == len(kept(database_url))


def test_files_that_cannot_be_moved_wait_and_hold_up_no_others(
    postgres: Postgres, folder: DropFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as many as a tick looks at; each is tried again after a while, and leaves nothing in rejected/."""
    monkeypatch.setattr(drop_folder, "FILES_PER_TICK", 2)
    monkeypatch.setattr(drop_folder, "FAILURE_TICKS", 3)
    (root / "rejected").write_bytes(b"")  # no folder can be made of it
    for name in ("a.json", "b.json"):
        (root / name).write_bytes(b"{")
    attempts, read = [], folder.read

    def counted(path: str, *, most_bytes: int) -> bytes:
        attempts.append(path)
        return read(path, most_bytes=most_bytes)

    monkeypatch.setattr(folder, "read", counted)
    _, marks = take_files(postgres, folder, READER, seen=seen_quiet(postgres, folder))
    assert ["a.json", "b.json"] == attempts
    (root / "c.json").write_bytes(lines(make_body()))
    while "c.json" in names(root):
        _, marks = take_files(postgres, folder, READER, seen=marks)
        assert len(attempts) < 10
    assert {"a.json", "b.json", "rejected"} == {name for name in names(root) if not name.startswith("processed/")}
    assert 1 == attempts.count("c.json")
    for _ in range(2 * (drop_folder.FAILURE_TICKS + QUIET_TICKS)):
        _, marks = take_files(postgres, folder, READER, seen=marks)
    assert 2 <= attempts.count("a.json") <= 4


def test_a_large_file_is_not_begun_late_in_a_tick(
    postgres: Postgres, folder: DropFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster would end the tick in the middle of it; small ones are."""
    (root / "large.ndjson").write_bytes(lines(*(make_body(id=str(n)) for n in range(50))))
    (root / "small.json").write_bytes(lines(make_body(id="small")))
    marks = seen_quiet(postgres, folder)
    monkeypatch.setattr(drop_folder, "LARGE_BYTES", 1_000)
    with monkeypatch.context() as patched:
        patched.setattr(drop_folder.time, "monotonic", iter((0.0, *[drop_folder.WORK_SECONDS / 2] * 10)).__next__)
        taken, marks = take_files(postgres, folder, READER, seen=marks)
    assert (1, {"large.ndjson"}) == (taken.accepted, set(marks))
    assert 50 == take_files(postgres, folder, READER, seen=marks)[0].accepted


def test_one_file_that_cannot_be_read_holds_up_no_other(
    postgres: Postgres,
    folder: DropFolder,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("a.json", "b.json"):
        (root / name).write_bytes(lines(make_body(id=name)))
    read = folder.read

    def unreadable(path: str, *, most_bytes: int) -> bytes:
        if path == "a.json":
            raise StoreUnavailableError(path, "Input/output error")
        return read(path, most_bytes=most_bytes)

    monkeypatch.setattr(folder, "read", unreadable)
    marks = seen_quiet(postgres, folder)
    taken, left = take_files(postgres, folder, READER, seen=marks)
    assert (1, {"a.json"}) == (taken.accepted, set(left))
    assert "a.json" in names(root)
    assert "Input/output error" in caplog.text


def test_work_of_a_tick_is_bounded(
    postgres: Postgres, folder: DropFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is taken in the next one."""
    for number in range(5):
        (root / f"{number}.json").write_bytes(lines(make_body(id=str(number))))
    monkeypatch.setattr(drop_folder, "FILES_PER_TICK", 2)
    total, ticks, marks = 0, 0, {}
    while names(root) - {name for name in names(root) if name.startswith("processed/")}:
        taken, marks = take_files(postgres, folder, READER, seen=marks)
        assert taken.files <= 2
        total, ticks = total + taken.accepted, ticks + 1
        assert ticks < 20
    assert 5 == total
    (root / "late.json").write_bytes(lines(make_body(id="late")))
    monkeypatch.setattr(drop_folder, "WORK_SECONDS", -1.0)
    for _ in range(QUIET_TICKS + 2):
        taken, marks = take_files(postgres, folder, READER, seen=marks)
        assert (0, {"late.json"}) == (taken.files, set(marks))


def test_two_at_once_take_each_file_once(postgres: Postgres, folder: DropFolder, root: Path, database_url: str) -> None:
    for number in range(30):
        (root / f"{number}.json").write_bytes(lines(make_body(id=str(number))))
    marks = seen_quiet(postgres, folder)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: take_files(postgres, folder, READER, seen=marks)[0], range(3)))
    assert (30, 30) == (sum(it.files for it in done), sum(it.accepted for it in done))
    assert 30 == len(kept(database_url)) == len(names(root))


def test_a_large_file_comes_in_several_transactions(
    postgres: Postgres, folder: DropFolder, root: Path, database_url: str
) -> None:
    (root / "a.ndjson").write_bytes(lines(*(make_body(id=str(n)) for n in range(1_201))))
    assert Taken(files=1, accepted=1_201) == take(postgres, folder)
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select count(distinct xmin::text), count(*) from operations.deliveries").fetchone()
    assert (3, 1_201) == found


# the sensor


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as own:
        yield own


def tick(instance: dg.DagsterInstance, postgres: Postgres, cursor: str | None = None, **over: str) -> tuple[str, str]:
    settings = Settings.from_environment({"DATABASE_URL": postgres.url, **over})
    resources = {"postgres": postgres, "settings": settings}
    with dg.build_sensor_context(instance=instance, resources=resources, cursor=cursor) as context:
        answer = drop_sensor(TYPES)(context)
        assert isinstance(answer, dg.SkipReason)
        return answer.skip_message or "", context.cursor or ""


def test_the_sensor_takes_files_by_itself(instance: dg.DagsterInstance, postgres: Postgres, root: Path) -> None:
    """It remembers in its cursor what it has seen, and says what it did."""
    (root / "a.json").write_bytes(lines(make_body()))
    cursor = None
    for _ in range(QUIET_TICKS):
        said, cursor = tick(instance, postgres, cursor, DROP_URL=str(root))
        assert "0 files: 0 deliveries" in said
        assert "1 files are not finished" in said
    said, cursor = tick(instance, postgres, cursor, DROP_URL=str(root))
    assert "1 files: 1 deliveries, 0 duplicates, 0 rejected; 0 files are not finished" == said
    assert "{}" == cursor


def test_without_a_folder_it_does_nothing(instance: dg.DagsterInstance, postgres: Postgres, tmp_path: Path) -> None:
    assert "DROP_URL is not set" in tick(instance, postgres)[0]
    with pytest.raises(StoreUnavailableError, match="no such folder"):
        tick(instance, postgres, DROP_URL=str(tmp_path / "nowhere"))


def test_it_is_on_by_default() -> None:
    sensor = drop_sensor(TYPES)
    assert ("operations_drop_sensor", dg.DefaultSensorStatus.RUNNING) == (sensor.name, sensor.default_status)
