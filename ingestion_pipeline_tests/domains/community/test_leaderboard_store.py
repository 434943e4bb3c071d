"""Leaderboards from stored metrics to stored boards: days replaced, changes of rank, checks that are broken on purpose."""

import threading
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from psycopg.rows import dict_row

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.leaderboard_checks import (
    disordered,
    misnumbered,
    unequal_sums,
    wrong_changes,
)
from ingestion_pipeline.domains.community.leaderboard_store import boards, build_boards, read_inputs, replace_day
from ingestion_pipeline.domains.community.leaderboard_tables import LEADERBOARD_SNAPSHOTS
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.domains.community.boards import (
    DAY,
    HALF_LIFE,
    Metric,
    Rule,
    boards_of,
    expected_boards,
    some_metrics,
    some_rules,
    store_metrics,
    store_rules,
)
from ingestion_pipeline_tests.domains.community.rolled import IN_MEMORY

ONE = timedelta(days=1)
TODAY = Window.of_days(DAY, DAY)


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def build(postgres: Postgres, lake: Lake, *days: Any, labelled_since: date = date(2000, 1, 1)) -> None:
    some = days or (DAY,)
    build_boards(postgres, lake.engine, some, half_life_hours=HALF_LIFE, labelled_since=labelled_since)


def stored(owner: psycopg.Connection[Any], day: Any = DAY) -> list[dict[str, Any]]:
    with owner.cursor(row_factory=dict_row) as cursor:
        statement = "select * from community.leaderboard_snapshots where day = %s order by day, period, kind, scope, "
        return cursor.execute((statement + "scope_value, rank").encode(), [day]).fetchall()


def differences(postgres: Postgres) -> list[dict[str, Any]]:
    return unequal_sums(postgres, TODAY, half_life_hours=HALF_LIFE)


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
    assert [] == differences(postgres)
    frame = postgres.rows(LEADERBOARD_SNAPSHOTS, TODAY)
    assert [0, 0, 0] == [len(claim(frame)) for claim in (misnumbered, disordered, wrong_changes)]
    assert len(frame) > 100


def versions(owner: psycopg.Connection[Any], day: Any = DAY) -> dict[Any, Any]:
    """Which transaction wrote each row."""
    statement = (
        "select period, kind, scope, scope_value, rank, xmin::text from community.leaderboard_snapshots where day = %s"
    )
    return {tuple(key): xmin for *key, xmin in owner.execute(statement, [day]).fetchall()}


def test_a_day_built_again_writes_only_what_differs(
    postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]
) -> None:
    """The running day is built every hour: what is the same is not written, be it alone or among other days."""
    rules = some_rules(40)
    store_rules(owner, rules)
    store_metrics(owner, some_metrics(rules), rules)
    build(postgres, lake, DAY - ONE, DAY, DAY + ONE)
    assert [] == lake.engine.raw_sql(IN_MEMORY).fetchall()  # a run may have many days
    before, written = [stored(owner, DAY), stored(owner, DAY + ONE)], versions(owner)
    assert any(row["rank_change"] for row in before[0])
    build(postgres, lake)
    build(postgres, lake, DAY - ONE, DAY)
    assert written == versions(owner)
    assert before == [stored(owner, DAY), stored(owner, DAY + ONE)]
    store_metrics(owner, [Metric("unknown", views=1_000)], [])
    build(postgres, lake)
    moved = {key[0] for key, version in versions(owner).items() if version != written[key]}
    assert {"DAILY", "ALL_TIME"} <= moved  # its trend is the same, so are places by it
    kinds = {key[1:3] for key, version in versions(owner).items() if version != written[key]}
    assert {("RULE", "GLOBAL")} == kinds


def test_the_second_of_two_builds_waits_before_it_reads(
    postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any], database_url: str
) -> None:
    """What it stores is never older than what the first has stored."""
    store_metrics(owner, [Metric("a", views=1)], [])
    thread = threading.Thread(target=build, args=(postgres, lake))
    with psycopg.connect(database_url) as first:
        first.execute("select pg_advisory_xact_lock(hashtextextended('community.leaderboard_snapshots', 0))")
        thread.start()
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        until(lambda: owner.execute(waiting).fetchall() == [(1,)])
        store_metrics(owner, [Metric("a", views=9)], [])
    thread.join()
    assert {9.0} == {row["points"] for row in stored(owner)}


def test_days_of_one_run_are_those_of_many(postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]) -> None:
    """What is read once for all of them: no day counts what is after it, nor what is before its period."""
    rules = some_rules(30)
    metrics = some_metrics(rules, days=70)
    store_rules(owner, rules)
    store_metrics(owner, metrics, rules)
    days = [DAY - timedelta(days=age) for age in range(33, -1, -1)]
    build(postgres, lake, *days)
    together = {day: stored(owner, day) for day in days}
    assert {DAY, DAY - 3 * ONE, days[0]} == {
        day
        for day in (DAY, DAY - 3 * ONE, days[0])
        if expected_boards(rules, metrics, day).keys() == boards_of(together[day]).keys()
    }
    owner.execute("delete from community.leaderboard_snapshots")
    for day in days:
        build(postgres, lake, day)
    assert together == {day: stored(owner, day) for day in days}


def test_boards_of_tags_and_models_are_kept_for_a_while(
    postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]
) -> None:
    """GLOBAL ones for ever; an old day that is built again gets no others."""
    store_rules(owner, [Rule("a", tags=("sql",), model="opus")])
    days = [DAY - ONE, DAY, DAY + ONE]
    store_metrics(owner, [Metric("a", day, views=3) for day in days], [])

    def scopes() -> dict[Any, set[str]]:
        return {day: {row["scope"] for row in stored(owner, day)} for day in days}

    every = {"GLOBAL", "TAG", "MODEL"}
    build(postgres, lake, *days)
    assert dict.fromkeys(days, every) == scopes()
    build(postgres, lake, DAY + ONE, labelled_since=DAY + ONE)
    assert {DAY - ONE: {"GLOBAL"}, DAY: {"GLOBAL"}, DAY + ONE: every} == scopes()
    build(postgres, lake, *days, labelled_since=DAY)
    assert {DAY - ONE: {"GLOBAL"}, DAY: every, DAY + ONE: every} == scopes()


def test_what_breaks_off_leaves_the_old_day(postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]) -> None:
    store_metrics(owner, [Metric("a", views=3), Metric("b", views=2)], [])
    build(postgres, lake)
    before = stored(owner)
    rows = boards(read_inputs(postgres, DAY, DAY), lake.engine, day=DAY, half_life_hours=HALF_LIFE).to_pandas()
    rows["rank"] += 1
    rows.loc[rows.index[-1], "rank"] = 1000
    wrong = pa.Table.from_pandas(rows, preserve_index=False)
    with pytest.raises(psycopg.errors.CheckViolation), postgres.transaction() as connection:
        replace_day(connection, wrong, DAY)
    assert before == stored(owner)


def test_changes_of_rank_are_since_the_newest_earlier_board(
    postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]
) -> None:
    """New where there was no place; days without the board, of nobody or not built, are passed over."""
    days = {DAY: {"a": 3, "b": 2, "c": 1}, DAY + ONE: {"b": 9, "d": 8, "a": 1}, DAY + 3 * ONE: {"a": 5, "c": 4, "b": 3}}
    for day, views in days.items():
        store_metrics(owner, [Metric(rule, day, views=count) for rule, count in views.items()], [])
    build(postgres, lake, DAY, DAY + ONE)
    build(postgres, lake, DAY + 3 * ONE)
    assert {"a": (1, None, None), "b": (2, None, None), "c": (3, None, None)} == changes(owner, DAY)
    assert {"b": (1, 2, 1), "d": (2, None, None), "a": (3, 1, -2)} == changes(owner, DAY + ONE)
    after = {"a": (1, 3, 2), "c": (2, None, None), "b": (3, 1, -2)}
    assert after == changes(owner, DAY + 3 * ONE)
    build(postgres, lake, DAY + 2 * ONE)  # nobody is on its board of the day
    assert after == changes(owner, DAY + 3 * ONE)
    everybody = [row for row in stored(owner, DAY + 3 * ONE) if row["period"] == "ALL_TIME"]
    assert {"a": 1, "b": 2, "c": 3, "d": 4}.keys() == {row["subject_id"] for row in everybody}
    owner.execute("delete from community.rule_metrics_daily where day = %s", [DAY + ONE])
    build(postgres, lake, DAY + ONE)  # the board of that day is no more
    assert {"a": (1, 1, 0), "c": (2, 3, 1), "b": (3, 2, -1)} == changes(owner, DAY + 3 * ONE)
    span = Window.of_days(DAY, DAY + 3 * ONE)
    assert 0 == len(wrong_changes(postgres.rows(LEADERBOARD_SNAPSHOTS, span)))


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
    """In every period that has the day, of the rule and of its author; also where only the trend differs."""
    store_rules(owner, [Rule("a", "ada")])
    store_metrics(owner, [Metric("a", DAY - timedelta(days=10), views=3, fading=3.0), Metric("a", views=3)], [])
    build(postgres, lake)
    assert [] == differences(postgres)
    store_metrics(owner, [Metric("a", DAY - timedelta(days=10), views=4, fading=3.0)], [])
    found = differences(postgres)
    assert [(period, kind) for period in ("ALL_TIME", "MONTHLY") for kind in ("AUTHOR", "RULE")] == [
        (row["period"], row["kind"]) for row in found
    ]
    assert {(6, 7)} == {(row["views"], row["metric_views"]) for row in found}
    store_metrics(owner, [Metric("a", DAY - timedelta(days=10), views=3, fading=2.5)], [])
    assert {("MONTHLY", "AUTHOR"), ("MONTHLY", "RULE")} == {
        (row["period"], row["kind"]) for row in differences(postgres)
    }


def test_places_of_who_was_erased_are_nobodys(postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any]) -> None:
    """Their score stays on past days, their name and their rules do not."""
    store_rules(owner, [Rule("a", "ada")])
    store_metrics(owner, [Metric("a", views=3)], [])
    build(postgres, lake)
    owner.execute("update community.rules set author_id = null")
    assert {"AUTHOR"} == {row["kind"] for row in differences(postgres)}
    owner.execute("update community.leaderboard_snapshots set subject_id = 'erased:1' where kind = 'AUTHOR'")
    assert [] == differences(postgres)
