"""kill -9 in the middle of a rollup, and two of one day at once: a day is wholly old or wholly new, and nobody is stuck."""

import threading
from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.domains.community.abuse import limits_of
from ingestion_pipeline.domains.community.rollup_days import locked_day, replaced, rolled_rules
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python, until
from ingestion_pipeline_tests.domains.community.rolled import DAY, Rolled, event, prepare

TABLES = (RULE_METRICS_DAILY, EXCLUDED_EVENTS_DAILY, AUTHOR_METRICS_DAILY)
CHILD = """
    import sys
    from datetime import date
    from ingestion_pipeline.domains.community.abuse import limits_of
    from ingestion_pipeline.domains.community.rollup_days import locked_day, replaced, rolled_rules
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
