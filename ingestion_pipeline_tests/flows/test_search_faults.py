"""The search index while it is made anew: killed, twice at once, with changes coming in. Readers always find all of it.

Rebuilds that are killed are processes of their own, killed when they say where they are, never after a time.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Self

import psycopg
import pytest

from ingestion_pipeline.domains.community import search_index
from ingestion_pipeline.domains.community.search_index import document_count, has_changes, index_changes, rebuild
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import output, python, until

RULES = 60
REBUILD = """
import sys

from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.community import search_index
from ingestion_pipeline.storage.postgres import Postgres

configure_logging("critical", style="json")
url, wanted = sys.argv[1], int(sys.argv[2])
search_index.DOCUMENTS_PER_PART = 10
parts = 0


def go_on():
    # says where it is and waits there for a line, or for its end
    global parts
    parts += 1
    if parts == wanted:
        print("here", flush=True)
        sys.stdin.readline()


print(search_index.rebuild(Postgres(url), go_on=go_on), flush=True)
"""
PUBLISH = """
insert into community.rules (rule_id, title, body, tags, status, published_at, updated_at, event_id)
select 'r' || to_char(n, 'FM000'), 'A common word', %s, '[]', 'published', now(), now(), 'e' || n
from generate_series(1, %s) as n
on conflict (rule_id) do update set body = excluded.body
"""
MARK = (
    "insert into community.search_changes (kind, id) select 'rule', rule_id from community.rules on conflict do nothing"
)
FOUND = "select count(*) from community.search(%s, null, null, null, null, null, 1000)"


class Finding:
    """A reader that searches without a pause, as the intake does, and keeps what it found."""

    def __init__(self, url: str, word: str) -> None:
        self.counts: list[int] = []
        self.problems: list[Exception] = []
        self._url, self._word = url.replace("postgres@", "pipeline_intake@", 1), word
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._search)

    def __enter__(self) -> Self:
        self._thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def go_on(self) -> None:
        """Returns when it has searched a few times more."""
        wanted = len(self.counts) + 5
        until(lambda: len(self.counts) >= wanted or bool(self.problems))
        assert [] == self.problems

    def _search(self) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                while not self._is_over.is_set():
                    ((count,),) = connection.execute(FOUND, [self._word]).fetchall()
                    self.counts.append(count)
        except Exception as error:  # noqa: BLE001
            self.problems.append(error)


def publish(url: str, body: str = "old", *, count: int = RULES) -> None:
    with psycopg.connect(url) as owner:
        owner.execute(PUBLISH, [body, count])


def found(url: str, word: str) -> int:
    with psycopg.connect(url) as owner:
        ((count,),) = owner.execute(FOUND, [word]).fetchall()
    return int(count)


def generations(url: str) -> set[int]:
    with psycopg.connect(url) as owner:
        return {
            one for (one,) in owner.execute("select distinct generation from community.search_documents").fetchall()
        }


@pytest.fixture
def indexed(database_url: str, postgres: Postgres) -> str:
    """The URL of a database whose rules are indexed."""
    publish(database_url)
    assert RULES == rebuild(postgres)
    return database_url


@contextmanager
def together(*works: Callable[[], Any]) -> Iterator[list[Any]]:
    """Runs all at once; what they return, once the block has ended."""
    results: list[Any] = []
    threads = [threading.Thread(target=lambda work=work: results.append(work())) for work in works]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("part", [1, 3, 8])
def test_a_killed_rebuild_leaves_readers_what_they_had(
    indexed: str, worker_url: str, postgres: Postgres, part: int
) -> None:
    """Before its first part, in the middle, before it switches; the next one does it all, and clears away."""
    publish(indexed, "new")
    with Finding(indexed, "common") as reader:
        with python(REBUILD, worker_url, str(part)) as child:
            assert child.stdout is not None
            assert "here\n" == child.stdout.readline()
            reader.go_on()
            child.kill()
            child.wait()
        reader.go_on()
        assert (RULES, 0) == (found(indexed, "old"), found(indexed, "new"))
        assert RULES == rebuild(postgres)
        reader.go_on()
    assert {RULES} == set(reader.counts)
    assert (0, RULES) == (found(indexed, "old"), found(indexed, "new"))
    assert 1 == len(generations(indexed))


def test_a_rebuild_that_goes_on_switches_at_its_end(indexed: str, worker_url: str) -> None:
    publish(indexed, "new")
    with Finding(indexed, "common") as reader, python(REBUILD, worker_url, "8") as child:
        assert child.stdout is not None
        assert "here\n" == child.stdout.readline()
        assert (RULES, 0) == (found(indexed, "old"), found(indexed, "new"))
        assert f"{RULES}\n" == output(child)
        assert (0, RULES) == (found(indexed, "old"), found(indexed, "new"))
        reader.go_on()
    assert {RULES} == set(reader.counts)


def test_two_rebuilds_at_once_take_turns(indexed: str, worker_url: str) -> None:
    """Both end well, and so does the index."""
    publish(indexed, "new")
    with Finding(indexed, "common") as reader, python(REBUILD, worker_url, "3") as child:
        assert child.stdout is not None
        assert "here\n" == child.stdout.readline()
        with python(REBUILD, worker_url, "0") as other:
            until(lambda: _waits_for_a_lock(indexed))
            assert f"{RULES}\n" == output(child)
            assert f"{RULES}\n" == output(other)
        reader.go_on()
    assert {RULES} == set(reader.counts)
    assert RULES == found(indexed, "new")
    assert 1 == len(generations(indexed))


def _waits_for_a_lock(url: str) -> bool:
    with psycopg.connect(url) as owner:
        statement = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        return owner.execute(statement).fetchall() == [(1,)]


def test_rebuilds_and_changes_at_once_are_never_seen(
    indexed: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search in a loop finds every document every time."""
    monkeypatch.setattr(search_index, "DOCUMENTS_PER_PART", 10)

    def change() -> None:
        for number in range(10):
            publish(indexed, f"body {number}")
            with psycopg.connect(indexed) as owner:
                owner.execute(MARK)
            index_changes(postgres)

    with Finding(indexed, "common") as reader:
        works = [lambda: rebuild(postgres), lambda: rebuild(postgres), change, lambda: index_changes(postgres)]
        with together(*works) as results:
            reader.go_on()
        assert [RULES, RULES] == [it for it in results if it == RULES]
    assert {RULES} == set(reader.counts)
    index_changes(postgres)
    assert not has_changes(postgres)
    assert RULES == found(indexed, '"body 9"')
    assert [] == [*postgres.read("community_search_missing"), *postgres.read("community_search_orphans")]


def test_what_changes_during_a_rebuild_is_in_it(indexed: str, worker_url: str, postgres: Postgres) -> None:
    """Changed and deleted after their part was read, and before: readers of both generations see it."""
    with python(REBUILD, worker_url, "4") as child:  # thirty of sixty are read
        assert child.stdout is not None
        assert "here\n" == child.stdout.readline()
        with psycopg.connect(indexed) as owner:
            owner.execute("update community.rules set body = 'new' where rule_id in ('r005', 'r055')")
            owner.execute("delete from community.rules where rule_id in ('r006', 'r056')")
            owner.execute(
                "insert into community.search_changes (kind, id) "
                "select 'rule', unnest(array['r005', 'r055', 'r006', 'r056'])"
            )
        assert 4 == index_changes(postgres)
        assert (2, RULES - 4) == (found(indexed, "new"), found(indexed, "old"))
        assert f"{RULES - 2}\n" == output(child)
    assert (2, RULES - 4) == (found(indexed, "new"), found(indexed, "old"))
    assert [] == [*postgres.read("community_search_missing"), *postgres.read("community_search_orphans")]


def test_what_a_part_has_read_before_it_was_deleted_goes(indexed: str, worker_url: str, postgres: Postgres) -> None:
    """Deleted by hand, unmarked: the switch takes it out."""
    with python(REBUILD, worker_url, "8") as child:
        assert child.stdout is not None
        assert "here\n" == child.stdout.readline()
        with psycopg.connect(indexed) as owner:
            owner.execute("delete from community.rules where rule_id = 'r006'")
        assert f"{RULES - 1}\n" == output(child)
    assert RULES - 1 == document_count(postgres) == found(indexed, "common")


def test_a_rebuild_that_is_stopped_leaves_readers_what_they_had(indexed: str, postgres: Postgres) -> None:
    """As when its job is cancelled."""

    class Stopped(Exception):  # noqa: N818
        pass

    def stop() -> None:
        raise Stopped

    publish(indexed, "new")
    with pytest.raises(Stopped):
        rebuild(postgres, go_on=stop)
    assert RULES == found(indexed, "old")
    assert RULES == rebuild(postgres)


CRAWL = """
select count(*) from community.store_crawl_items(
    %s, array(select n::text from generate_series(1, 50) as n order by n * %s),
    array_fill('https://example.com/'::text, array[50]), array_fill(%s::text, array[50]),
    array_fill(null::text, array[50]), array_fill(null::text, array[50]), 'c', 'q'
)
"""


def test_crawls_changes_and_rebuilds_at_once_do_not_stand_in_each_other_s_way(indexed: str, postgres: Postgres) -> None:
    """No deadlock, whatever the order of the items; in the end all of it is found."""
    problems: list[Exception] = []

    def insisting(work: Callable[[], Any]) -> Callable[[], None]:
        def loop() -> None:
            try:
                for _ in range(15):
                    work()
            except Exception as error:  # noqa: BLE001
                problems.append(error)

        return loop

    def crawl(source: str, order: int) -> Callable[[], None]:
        numbers = iter(range(1_000))

        def send() -> None:
            with psycopg.connect(indexed.replace("postgres@", "pipeline_intake@", 1)) as intake:
                title = f"crawled {order} {next(numbers)}"
                assert [(50,)] == intake.execute(CRAWL, [source, order, title]).fetchall()

        return send

    works = [crawl("one", 1), crawl("one", -1), crawl("two", 1), lambda: index_changes(postgres)]
    with together(*map(insisting, [*works, lambda: index_changes(postgres), lambda: rebuild(postgres)])):
        pass
    assert [] == problems
    index_changes(postgres)
    assert 100 == found(indexed, "crawled")
    queries = ("crawl_items_disagreeing", "search_missing", "search_orphans")
    assert [] == [row for query in queries for row in postgres.read(f"community_{query}")]


def test_the_intake_cannot_write_the_index(indexed: str) -> None:
    """It searches, and stores crawl items; no more."""
    with closing(psycopg.connect(indexed.replace("postgres@", "pipeline_intake@", 1), autocommit=True)) as intake:
        for statement in (
            "delete from community.search_documents",
            "update community.search_index set generation = 7",
            "select community.index_changes(1)",
            "delete from community.crawl_items",
            "update community.crawl_item_revisions set title = 'other'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                intake.execute(statement.encode())
