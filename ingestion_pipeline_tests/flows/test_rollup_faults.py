"""kill -9 in the middle of rollups and boards, two at once: a day is wholly old or wholly new, and nobody is stuck."""

import threading
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.abuse import limits_of
from ingestion_pipeline.domains.community.content_tables import RULES
from ingestion_pipeline.domains.community.dirty_days import dirty_days
from ingestion_pipeline.domains.community.leaderboard_store import build_boards
from ingestion_pipeline.domains.community.rollup_days import locked_day, rolled_rules
from ingestion_pipeline.domains.community.rollup_rows import replaced
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.domains.community.rules import apply_days
from ingestion_pipeline.orchestration.derived import asset_keys
from ingestion_pipeline.orchestration.staleness import Builds
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python, until
from ingestion_pipeline_tests.domains.community.rolled import DAY, DEFS, Rolled, event, prepare

TABLES = (RULE_METRICS_DAILY, EXCLUDED_EVENTS_DAILY, AUTHOR_METRICS_DAILY)
CHILD = """
    import sys
    from datetime import date
    from ingestion_pipeline.domains.community.abuse import limits_of
    from ingestion_pipeline.domains.community.rollup_days import locked_day, rolled_rules
    from ingestion_pipeline.domains.community.rollup_rows import replaced
    from ingestion_pipeline.domains.community.rollup_tables import EXCLUDED_EVENTS_DAILY, RULE_METRICS_DAILY
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.storage.lake import Lake
    from ingestion_pipeline.storage.postgres import Postgres

    url, home, day = sys.argv[1], sys.argv[2], date.fromisoformat(sys.argv[3])
    lake = Lake(Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home}))
    with locked_day(Postgres(url), day) as connection:
        rollup = rolled_rules(connection, lake, limits_of(Settings.from_environment()), day)
        replaced(connection, EXCLUDED_EVENTS_DAILY, rollup.excluded, day)
        replaced(connection, RULE_METRICS_DAILY, rollup.metrics, day)
        print("written", flush=True)
        sys.stdin.read()
"""


AUTHORS_CHILD = """
    import sys
    from datetime import date
    from ingestion_pipeline.domains.community.rollup_days import locked_day, rolled_authors, stored_metrics
    from ingestion_pipeline.domains.community.rollup_rows import replaced
    from ingestion_pipeline.domains.community.rollup_tables import AUTHOR_METRICS_DAILY
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.storage.lake import Lake
    from ingestion_pipeline.storage.postgres import Postgres

    url, home, day = sys.argv[1], sys.argv[2], date.fromisoformat(sys.argv[3])
    lake = Lake(Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home}))
    with locked_day(Postgres(url), day) as connection:
        rows = rolled_authors(connection, lake, stored_metrics(connection, day), day)
        replaced(connection, AUTHOR_METRICS_DAILY, rows, day)
        print("written", flush=True)
        sys.stdin.read()
"""
BOARDS_CHILD = """
    import sys
    from datetime import date, timedelta
    from ingestion_pipeline.domains.community import leaderboard_store
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.storage.lake import Lake
    from ingestion_pipeline.storage.postgres import Postgres

    url, home, day = sys.argv[1], sys.argv[2], date.fromisoformat(sys.argv[3])
    engine = Lake(Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home})).engine

    def days():
        yield day
        print("written", flush=True)
        sys.stdin.read()

    class Days(list):
        def __getitem__(self, wanted):
            return Days(super().__getitem__(wanted)) if isinstance(wanted, slice) else super().__getitem__(wanted)

        def __iter__(self):
            return days()

    some = Days([day, day + timedelta(days=1)])
    leaderboard_store.build_boards(Postgres(url), engine, some, half_life_hours=48.0, labelled_since=day)
"""


@pytest.fixture
def rolled(database_url: str, settings: Settings, postgres: Postgres, lake: Lake) -> Iterator[Rolled]:
    prepare(database_url)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Rolled(settings, postgres, lake, instance)


def rows(rolled: Rolled) -> list[list[dict[str, Any]]]:
    return [rolled.rows(table) for table in TABLES]


def test_a_killed_rollup_leaves_the_old_day(rolled: Rolled) -> None:
    """After its rows are written and before they are committed; the next one builds the new day, all of it."""
    rolled.author("r1", "ada")
    rolled.store(event(), event(user_agent="HeadlessChrome"))
    rolled.run()
    old = rows(rolled)
    rolled.store(event("COPY"), event("FORK", rule_id="r2"), event("VOTE", user_id="ada"))
    with python(CHILD, rolled.postgres.url, str(rolled.settings.ingestion_home), str(DAY)) as child:
        assert child.stdout is not None
        assert "written\n" == child.stdout.readline()
        assert old == rows(rolled)
        child.kill()
        child.wait()
    assert old == rows(rolled)
    rolled.run()
    (copied, forked), (excluded,), (author,) = rows(rolled)
    assert (1, 1, 0) == (copied["copies"], forked["forks"], copied["views"])
    assert ("self_vote", 3.0) == (excluded["reason"], author["points"])


# The job over many days; says so and waits when the rows of the last argument's day are written.
RUN_CHILD = """
    import sys
    from datetime import date
    import dagster as dg
    from ingestion_pipeline.domains.community import rollup_assets
    from ingestion_pipeline.domains.community.rollup_tables import RULE_METRICS_DAILY
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.storage.lake import Lake
    from ingestion_pipeline.storage.postgres import Postgres
    from ingestion_pipeline_tests.domains.community.rolled import Rolled

    url, home, storage = sys.argv[1:4]
    first, last, stop = (date.fromisoformat(it) for it in sys.argv[4:])
    settings = Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home})
    replaced = rollup_assets.replaced

    def replaced_then_waiting(connection, table, rows, day):
        changes = replaced(connection, table, rows, day)
        if (table, day) == (RULE_METRICS_DAILY, stop):
            print("written", flush=True)
            sys.stdin.read()
        return changes

    rollup_assets.replaced = replaced_then_waiting
    Rolled(settings, Postgres(url), Lake(settings), dg.DagsterInstance.local_temp(storage)).run(first, last)
"""


def test_a_run_of_many_days_that_is_killed_leaves_each_day_whole(rolled: Rolled, tmp_path: Path) -> None:
    """Those before the kill are new, the others old; all are outdated until a run over them has ended."""
    first, middle, last = days = [DAY + timedelta(days=n) for n in range(3)]
    graph = DEFS.get_repository_def().asset_graph

    def copies() -> list[int]:
        return [row["copies"] for day in days for row in rolled.rows(RULE_METRICS_DAILY, day)]

    def outdated() -> set[date]:
        return set(Builds(rolled.instance, graph).outdated(asset_keys(TABLES)))

    with dg.DagsterInstance.local_temp(str(tmp_path)) as rolled.instance:
        for source in ("community/rules", "community/donations"):
            rolled.tell(source, *days)
        rolled.store(*(event(hours=24 * n + 12) for n in range(3)))
        rolled.run(first, last)
        assert ([0, 0, 0], set()) == (copies(), outdated())
        rolled.store(*(event("COPY", hours=24 * n + 12) for n in range(3)))
        home = str(rolled.settings.ingestion_home)
        with python(RUN_CHILD, rolled.postgres.url, home, str(tmp_path), *map(str, (first, last, middle))) as child:
            assert child.stdout is not None
            while (line := child.stdout.readline()) != "written\n":
                assert line, child.wait()
            child.kill()
            child.wait()
        assert ([1, 0, 0], set(days)) == (copies(), outdated())
        rolled.run(first, last)
        assert ([1, 1, 1], set()) == (copies(), outdated())


def test_two_rollups_of_a_day_at_once_give_the_same_rows(rolled: Rolled, database_url: str) -> None:
    """The second waits before it reads: what it stores is never older than what the first has stored."""
    rolled.store(event())
    done: list[int] = []

    def second() -> None:
        other = Postgres(rolled.postgres.url)
        with locked_day(other, DAY) as connection:
            rollup = rolled_rules(connection, rolled.lake, limits_of(Settings.from_environment()), DAY)
            done.append(replaced(connection, RULE_METRICS_DAILY, rollup.metrics, DAY).updated)
        other.close()

    thread = threading.Thread(target=second)
    with locked_day(rolled.postgres, DAY) as connection:
        rollup = rolled_rules(connection, rolled.lake, limits_of(Settings.from_environment()), DAY)
        thread.start()
        with psycopg.connect(database_url, autocommit=True) as watching:
            waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            until(lambda: watching.execute(waiting).fetchall() == [(1,)])
        rolled.store(event(), event("COPY"))
        replaced(connection, RULE_METRICS_DAILY, rollup.metrics, DAY)
        assert [] == done
    thread.join()
    (row,) = rolled.rows(RULE_METRICS_DAILY)
    assert ([1], 1, 1) == (done, row["views"], row["copies"])


def test_killed_sums_of_authors_leave_the_old_day(rolled: Rolled) -> None:
    """The rules' rows are new by then; the next run makes the authors' follow."""
    rolled.author("r1", "ada")
    rolled.store(event())
    rolled.run()
    old = rolled.rows(AUTHOR_METRICS_DAILY)
    rolled.postgres.execute("update community.rule_metrics_daily set copies = 1, points = 4")
    with python(AUTHORS_CHILD, rolled.postgres.url, str(rolled.settings.ingestion_home), str(DAY)) as child:
        assert child.stdout is not None
        assert "written\n" == child.stdout.readline()
        child.kill()
        child.wait()
    assert old == rolled.rows(AUTHOR_METRICS_DAILY)
    rolled.store(event(), event("COPY"))
    rolled.run()
    assert [4.0] == [row["points"] for row in rolled.rows(AUTHOR_METRICS_DAILY)]


def board(rolled: Rolled) -> list[tuple[Any, ...]]:
    statement = "select day, points from community.leaderboard_snapshots where period = 'DAILY' order by day"
    with rolled.postgres.transaction() as connection:
        return connection.execute(statement).fetchall()


def test_killed_boards_leave_the_old_days(rolled: Rolled) -> None:
    """After the first of two days; the next run waits for nobody and makes both."""
    days, engine = [DAY, DAY + timedelta(days=1)], rolled.lake.engine
    rolled.store(event(), event(hours=36))
    rolled.run(*days)
    build_boards(rolled.postgres, engine, days, half_life_hours=48.0, labelled_since=DAY)
    assert [(day, 1.0) for day in days] == board(rolled)
    rolled.store(event("COPY"), event("COPY", hours=36))
    rolled.run(*days)
    with python(BOARDS_CHILD, rolled.postgres.url, str(rolled.settings.ingestion_home), str(DAY)) as child:
        assert child.stdout is not None
        assert "written\n" == child.stdout.readline()
        assert [(day, 1.0) for day in days] == board(rolled)
        child.kill()
        child.wait()
    assert [(day, 1.0) for day in days] == board(rolled)
    build_boards(rolled.postgres, engine, days, half_life_hours=48.0, labelled_since=DAY)
    assert [(day, 3.0) for day in days] == board(rolled)


def test_an_author_who_changes_while_a_day_is_rolled_up_dirties_it(rolled: Rolled, database_url: str) -> None:
    """Rules wait until what was rolled up with the former author is there to be seen."""
    published = event("rule.published", user_id="ada", event_category="content")
    rolled.store(event(), published)

    def publish() -> None:
        other = Postgres(rolled.postgres.url)
        assert [1] == [it.rules for it in apply_days(other, rolled.lake, Window.of_days(DAY, DAY))]
        other.close()

    thread = threading.Thread(target=publish)
    with locked_day(rolled.postgres, DAY) as connection:
        rollup = rolled_rules(connection, rolled.lake, limits_of(Settings.from_environment()), DAY)
        thread.start()
        with psycopg.connect(database_url, autocommit=True) as watching:
            waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            until(lambda: watching.execute(waiting).fetchall() == [(1,)])
        replaced(connection, RULE_METRICS_DAILY, rollup.metrics, DAY)
    thread.join()
    assert [None] == [row["author_id"] for row in rolled.rows(RULE_METRICS_DAILY)]
    assert [DAY] == [it.day for it in dirty_days(rolled.postgres, RULES)]
    rolled.run()
    assert ["ada"] == [row["author_id"] for row in rolled.rows(AUTHOR_METRICS_DAILY)]
