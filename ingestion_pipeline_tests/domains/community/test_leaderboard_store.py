"""Leaderboards from stored metrics to stored boards: days replaced, changes of rank, checks that are broken on purpose."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.leaderboard_checks import (
    disordered,
    misnumbered,
    unequal_sums,
    wrong_changes,
)
from ingestion_pipeline.domains.community.leaderboard_store import boards, read_inputs, replace_day
from ingestion_pipeline.domains.community.leaderboard_tables import LEADERBOARD_SNAPSHOTS
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.boards import (
    DAY,
    HALF_LIFE,
    Metric,
    boards_of,
    expected_boards,
    some_metrics,
    some_rules,
    store_metrics,
    store_rules,
)

ONE = timedelta(days=1)
TODAY = Window.of_days(DAY, DAY)


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def build(postgres: Postgres, lake: Lake, *days: Any) -> None:
    for day in days or (DAY,):
        rows = boards(read_inputs(postgres, day), lake.engine, day=day, half_life_hours=HALF_LIFE)
        replace_day(postgres, rows, day)


def stored(owner: psycopg.Connection[Any], day: Any = DAY) -> list[dict[str, Any]]:
    with owner.cursor(row_factory=dict_row) as cursor:
        statement = "select * from community.leaderboard_snapshots where day = %s order by day, period, kind, scope, "
        return cursor.execute((statement + "scope_value, rank").encode(), [day]).fetchall()


def changes(owner: psycopg.Connection[Any], day: Any) -> dict[str, tuple[int, int | None, int | None]]:
    """Rank, former rank and places won of the daily board of rules."""
    return {
        row["subject_id"]: (row["rank"], row["previous_rank"], row["rank_change"])
        for row in stored(owner, day)
        if (row["period"], row["kind"], row["scope"]) == ("DAILY", "RULE", "GLOBAL")
    }


def test_stored_boards_are_what_adding_up_row_by_row_gives(
    postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]
) -> None:
    """From PostgreSQL through the engine and back; older days than the window count in ALL_TIME only."""
    rules = some_rules(60)
    metrics = some_metrics(rules)
    store_rules(owner, rules)
    store_metrics(owner, metrics, rules)
    build(postgres, lake)
    expected, found = expected_boards(rules, metrics), boards_of(stored(owner))
    assert expected.keys() == found.keys()
    for board, places in expected.items():
        assert [(it[0], it[2], it[3]) for it in places] == [(it[0], it[2], it[3]) for it in found[board]], board
        assert [it[1] for it in places] == pytest.approx([it[1] for it in found[board]], abs=1e-6)
    assert [] == unequal_sums(postgres, TODAY)
    frame = postgres.rows(LEADERBOARD_SNAPSHOTS, TODAY)
    assert [0, 0, 0] == [len(claim(frame)) for claim in (misnumbered, disordered, wrong_changes)]
    assert len(frame) > 100


def test_a_day_built_again_is_the_same(postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]) -> None:
    """Also by two at once: one waits for the other."""
    rules = some_rules(40)
    store_rules(owner, rules)
    store_metrics(owner, some_metrics(rules), rules)
    build(postgres, lake, DAY - ONE, DAY, DAY + ONE)
    before = [stored(owner, DAY), stored(owner, DAY + ONE)]
    build(postgres, lake)
    assert before == [stored(owner, DAY), stored(owner, DAY + ONE)]
    rows = boards(read_inputs(postgres, DAY), lake.engine, day=DAY, half_life_hours=HALF_LIFE)
    threads = [threading.Thread(target=replace_day, args=(postgres, rows, DAY)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == [stored(owner, DAY), stored(owner, DAY + ONE)]
    assert any(row["rank_change"] for row in before[0])


def test_what_breaks_off_leaves_the_old_day(postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]) -> None:
    store_metrics(owner, [Metric("a", views=3), Metric("b", views=2)], [])
    build(postgres, lake)
    before = stored(owner)
    rows = boards(read_inputs(postgres, DAY), lake.engine, day=DAY, half_life_hours=HALF_LIFE).to_pandas()
    rows["rank"] += 1
    rows.loc[rows.index[-1], "rank"] = 1000
    import pyarrow as pa

    with pytest.raises(psycopg.errors.CheckViolation):
        replace_day(postgres, pa.Table.from_pandas(rows, preserve_index=False), DAY)
    assert before == stored(owner)


def test_changes_of_rank_are_since_the_day_before(
    postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]
) -> None:
    """New where there was no place; a gap of a day makes everybody new."""
    for day, views in ((DAY, {"a": 3, "b": 2, "c": 1}), (DAY + ONE, {"b": 9, "d": 8, "a": 1})):
        store_metrics(owner, [Metric(rule, day, views=count) for rule, count in views.items()], [])
    build(postgres, lake, DAY, DAY + ONE, DAY + 3 * ONE)
    assert {"a": (1, None, None), "b": (2, None, None), "c": (3, None, None)} == changes(owner, DAY)
    assert {"b": (1, 2, 1), "d": (2, None, None), "a": (3, 1, -2)} == changes(owner, DAY + ONE)
    build(postgres, lake, DAY + 2 * ONE)
    weekly = [row for row in stored(owner, DAY + 3 * ONE) if row["period"] == "ALL_TIME"]
    assert weekly
    assert {0} == {row["rank_change"] for row in weekly}  # the day between came late, and is followed


def test_a_day_that_changes_changes_who_moved_on_the_next(
    postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]
) -> None:
    """Without building that again; those who are no longer there before are new."""
    for day in (DAY, DAY + ONE):
        store_metrics(owner, [Metric("a", day, views=3), Metric("b", day, views=2), Metric("c", day, views=1)], [])
    build(postgres, lake, DAY, DAY + ONE)
    owner.execute("delete from community.rule_metrics_daily where day = %s and rule_id = 'c'", [DAY])
    store_metrics(owner, [Metric("b", DAY, views=7)], [])
    build(postgres, lake, DAY)
    assert {"a": (1, 2, 1), "b": (2, 1, -1), "c": (3, None, None)} == changes(owner, DAY + ONE)
    frame = postgres.rows(LEADERBOARD_SNAPSHOTS, Window.of_days(DAY, DAY + ONE))
    daily = frame[frame["period"] == "DAILY"]
    assert 0 == len(wrong_changes(daily))


def test_an_empty_day_empties_its_boards(postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]) -> None:
    store_metrics(owner, [Metric("a", views=1)], [])
    build(postgres, lake)
    owner.execute("delete from community.rule_metrics_daily")
    build(postgres, lake)
    assert [] == stored(owner)


def frame(**over: Any) -> pd.DataFrame:
    """Two days of one board with two places."""
    board = {"period": "DAILY", "kind": "RULE", "scope": "GLOBAL", "scope_value": ""}
    rows = [
        {"day": day, **board, "rank": rank, "subject_id": subject, "score": score, "views": 5, "previous_rank": former}
        for day, former_of in ((DAY, {}), (DAY + ONE, {"a": 1, "b": 2}))
        for rank, subject, score in ((1, "a", 9.0), (2, "b", 9.0))
        for former in [former_of.get(subject)]
    ]
    return pd.DataFrame(rows).assign(**over)


@pytest.mark.parametrize(
    ("claim", "over", "breaking"),
    [
        (misnumbered, {}, 0),
        (misnumbered, {"rank": [1, 3, 1, 2]}, 1),
        (misnumbered, {"rank": [2, 3, 1, 2]}, 2),
        (disordered, {}, 0),
        (disordered, {"score": [8.0, 9.0, 9.0, 9.0]}, 1),
        (disordered, {"views": [5, 6, 5, 5]}, 1),
        (disordered, {"subject_id": ["b", "a", "a", "b"]}, 1),
        (wrong_changes, {}, 0),
        (wrong_changes, {"previous_rank": [None, None, 2, 2]}, 1),
        (wrong_changes, {"previous_rank": [None, None, None, None]}, 2),
    ],
)
def test_checks_find_what_breaks_them(claim: Any, over: dict[str, Any], breaking: int) -> None:
    assert breaking == len(claim(frame(**over)))


def test_metrics_that_moved_on_are_found(postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]) -> None:
    """In every period that has the day."""
    store_metrics(owner, [Metric("a", DAY - timedelta(days=10), views=3, fading=3.0), Metric("a", views=3)], [])
    build(postgres, lake)
    assert [] == unequal_sums(postgres, TODAY)
    store_metrics(owner, [Metric("a", DAY - timedelta(days=10), views=4, fading=4.0)], [])
    assert ["ALL_TIME", "MONTHLY"] == [row["period"] for row in unequal_sums(postgres, TODAY)]
    assert {(6, 7)} == {(row["views"], row["metric_views"]) for row in unequal_sums(postgres, TODAY)}
