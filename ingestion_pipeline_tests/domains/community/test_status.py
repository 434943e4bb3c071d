"""What the status page says of leaderboards."""

from datetime import date
from typing import Any

import pytest

from ingestion_pipeline.domains.community.status import ELSEWHERE, leaderboards


def row(**over: Any) -> dict[str, Any]:
    place = {"day": date(2026, 3, 31), "period": "DAILY", "rank": 1, "title": "Test first", "points": 1_234.5}
    return {**place, "views": 1_000, "rank_change": None, **over}


def test_without_any_board_it_says_when_there_will_be() -> None:
    assert "There are no leaderboards yet" in leaderboards([])


def test_a_board_that_nobody_is_on_says_so() -> None:
    """The other one is shown, and where those of authors are."""
    shown = leaderboards([row()])
    assert 1 == shown.count("No rule is on it.")
    assert ">Test first<" in shown
    assert ELSEWHERE in shown


@pytest.mark.parametrize("title", [None, ""])
def test_a_rule_without_title_has_none_and_no_id(title: str | None) -> None:
    assert ">no title<" in leaderboards([row(title=title)])


def test_titles_are_text() -> None:
    assert "&lt;img src=x&gt;" in leaderboards([row(title="<img src=x>")])


@pytest.mark.parametrize(("places", "shown"), [(None, ">new<"), (0, ">=<"), (3, "▲ 3"), (-2, "▼ 2")])
def test_a_change_of_rank_is_told_by_more_than_its_colour(places: int | None, shown: str) -> None:
    assert shown in leaderboards([row(rank_change=places)])
