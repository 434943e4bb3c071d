"""The boards of pure functions, beside a slow and plain computation of the same."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import ibis
import pyarrow as pa
import pytest

from ingestion_pipeline.domains.community import leaderboards as module
from ingestion_pipeline.domains.community.leaderboard_store import (
    _DAYS_SCHEMA,
    _LABELS_SCHEMA,
    _RULES_SCHEMA,
    Inputs,
    boards,
)
from ingestion_pipeline.domains.community.leaderboard_tables import MOST_PLACES
from ingestion_pipeline_tests.domains.community.boards import (
    DAY,
    HALF_LIFE,
    Metric,
    Rule,
    boards_of,
    expected_boards,
    some_metrics,
    some_rules,
)

GLOBAL_RULES = ("DAILY", "RULE", "GLOBAL", "")


@pytest.fixture(scope="module")
def engine() -> Any:
    return ibis.duckdb.connect()


def inputs(rules: Sequence[Rule], metrics: Sequence[Metric], day: date = DAY) -> Inputs:
    """As they are read from PostgreSQL: what is older than the window, summed up."""
    labels = [(it.rule_id, "TAG", tag) for it in rules for tag in it.tags]
    labels += [(it.rule_id, "MODEL", it.model) for it in rules if it.model is not None]
    return Inputs(
        rule_days=_days(metrics, day),
        rules=_table(_RULES_SCHEMA, [(it.rule_id, it.author_id, it.is_deleted) for it in rules]),
        labels=_table(_LABELS_SCHEMA, labels),
    )


def _days(metrics: Sequence[Metric], day: date) -> pa.Table:
    first = day - timedelta(days=29)
    rows: list[tuple[Any, ...]] = [
        (it.rule_id, it.day, float(it.points), it.views, it.fading) for it in metrics if first <= it.day <= day
    ]
    for subject in {it.rule_id for it in metrics if it.day < first}:
        older = [it for it in metrics if it.rule_id == subject and it.day < first]
        rows.append((subject, None, float(sum(it.points for it in older)), sum(it.views for it in older), 0.0))
    return _table(_DAYS_SCHEMA, rows)


def _table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def ranked(engine: Any, rules: Sequence[Rule], metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = boards(inputs(rules, metrics), engine, day=DAY, half_life_hours=HALF_LIFE).to_pylist()
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_every_board_is_what_adding_up_row_by_row_gives(engine: Any, seed: int) -> None:
    """Four periods, rules and authors, three scopes; with ties, deleted and unknown rules, and odd tags."""
    rules = some_rules(150, seed)
    metrics = some_metrics(rules, seed=seed + 10)
    found, expected = boards_of(ranked(engine, rules, metrics)), expected_boards(rules, metrics)
    assert expected.keys() == found.keys()
    for board, places in expected.items():
        assert [place[0] for place in places] == [place[0] for place in found[board]], board
        assert [place[2:] for place in places] == [place[2:] for place in found[board]], board
        scores = [place[1] for place in found[board]]
        assert [place[1] for place in places] == pytest.approx(scores, abs=1e-6), board
        assert sorted(scores, reverse=True) == scores
    assert MOST_PLACES == max(map(len, found.values()))
    assert {"DAILY", "WEEKLY", "MONTHLY", "ALL_TIME"} == {board[0] for board in found}
    assert {"GLOBAL", "TAG", "MODEL"} == {board[2] for board in found}


def test_the_order_of_the_inputs_changes_nothing(engine: Any) -> None:
    """To the last bit: sums are exact."""
    rules = some_rules(60)
    metrics = some_metrics(rules)
    first = ranked(engine, rules, metrics)
    random.Random(3).shuffle(rules)
    random.Random(4).shuffle(metrics)
    assert first == ranked(engine, rules, metrics)


def test_ties_are_broken_by_views_then_by_id(engine: Any) -> None:
    """Bytes decide, not a language: capitals come before small letters."""
    metrics = [Metric("b", views=3), Metric("a", copies=1), Metric("c", views=3), Metric("Z", views=3)]
    (places,) = [rows for board, rows in boards_of(ranked(engine, [], metrics)).items() if board == GLOBAL_RULES]
    assert ["Z", "b", "c", "a"] == [place[0] for place in places]


def test_recent_days_weigh_more_in_a_week_and_nothing_fades_in_all_time(engine: Any) -> None:
    """Half of it is left after one half-life."""
    metrics = [
        Metric("old", DAY - timedelta(days=2), views=10, fading=10.0),
        Metric("new", DAY, views=6, fading=6.0),
    ]
    found = boards_of(ranked(engine, [], metrics))
    for period in ("WEEKLY", "MONTHLY"):
        assert [("new", 6.0, 6.0, 6), ("old", 5.0, 10.0, 10)] == found[period, "RULE", "GLOBAL", ""]
    assert [("old", 10.0, 10.0, 10), ("new", 6.0, 6.0, 6)] == found["ALL_TIME", "RULE", "GLOBAL", ""]
    assert [("new", 6.0, 6.0, 6)] == found[GLOBAL_RULES]


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, {"DAILY", "WEEKLY", "MONTHLY", "ALL_TIME"}),
        (6, {"WEEKLY", "MONTHLY", "ALL_TIME"}),
        (7, {"MONTHLY", "ALL_TIME"}),
        (29, {"MONTHLY", "ALL_TIME"}),
        (30, {"ALL_TIME"}),
        (400, {"ALL_TIME"}),
    ],
)
def test_a_period_ends_with_the_day(engine: Any, age: int, expected: set[str]) -> None:
    """1, 7, 30 days, and all."""
    metrics = [Metric("rule", DAY - timedelta(days=age), views=5, fading=5.0)]
    assert expected == {board[0] for board in boards_of(ranked(engine, [], metrics))}


def test_a_deleted_rule_is_on_no_board_and_counts_for_its_author(engine: Any) -> None:
    rules = [Rule("gone", "ada", ("sql",), "opus", is_deleted=True)]
    found = boards_of(ranked(engine, [*rules, Rule("kept", "bob", ("sql",), "opus")], [Metric("gone", views=5)]))
    assert {"AUTHOR"} == {board[1] for board in found}
    assert {"", "sql", "opus"} == {board[3] for board in found}
    assert {("ada", 5.0, 5.0, 5)} == {place for board, rows in found.items() if board[0] == "DAILY" for place in rows}


def test_who_has_no_positive_score_is_on_no_board(engine: Any) -> None:
    metrics = [Metric("down", votes_down=1), Metric("even", views=2, votes_down=1), Metric("up", views=1, fading=1.0)]
    found = boards_of(ranked(engine, [], metrics))
    assert {"up"} == {place[0] for rows in found.values() for place in rows}


def test_a_day_without_anything_has_no_boards(engine: Any) -> None:
    assert [] == ranked(engine, [], [])
    assert [] == ranked(engine, [Rule("rule", "ada", ("sql",), "opus")], [])


def test_only_the_tags_of_most_rules_have_boards(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By published rules, then by name; a made-up tag or a deleted rule takes no place of theirs."""
    monkeypatch.setattr(module, "MOST_SCOPE_VALUES", 2)
    rules = [
        Rule("1", tags=("common", "rare-b")),
        Rule("2", tags=("common", "rare-a", "")),
        Rule("3", tags=("gone",), is_deleted=True),
        Rule("4", tags=("gone",), is_deleted=True),
    ]
    found = boards_of(ranked(engine, rules, [Metric(rule.rule_id, views=1) for rule in rules]))
    assert {"common", "rare-a"} == {board[3] for board in found if board[2] == "TAG"}


def test_a_repeated_tag_counts_once(engine: Any) -> None:
    found = boards_of(ranked(engine, [Rule("1", tags=("sql", "sql"))], [Metric("1", views=2)]))
    assert [("1", 2.0, 2.0, 2)] == found["DAILY", "RULE", "TAG", "sql"]
    assert [("ada", 2.0, 2.0, 2)] == found["DAILY", "AUTHOR", "TAG", "sql"]
