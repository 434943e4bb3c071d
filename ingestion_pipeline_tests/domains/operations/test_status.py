"""What the status page says of health and of freshness."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion_pipeline.domains.operations.status import MOST_WEAK, freshness, health

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def figures(*, checked: timedelta = timedelta(), **services: tuple[str, list[str]]) -> list[dict[str, Any]]:
    """The row of operations.health_figures(), the mirror `checked` ago."""
    return [
        {
            "figures": {
                "now": NOW.isoformat(),
                "services": {
                    name: {
                        "status": status,
                        "reasons": reasons,
                        "since": (NOW - timedelta(hours=5)).isoformat(),
                        "checked_at": (NOW - checked).isoformat(),
                    }
                    for name, (status, reasons) in services.items()
                },
            }
        }
    ]


def asset(key: str, state: str, data_state: str) -> dict[str, Any]:
    return {
        "asset_group": "market",
        "asset_key": key,
        "state": state,
        "data_state": data_state,
        "last_materialized_at": None,
        "data_as_of": None,
        "reason": None,
        "now": NOW,
    }


def test_the_worst_is_said_first() -> None:
    """And what is fine last, by name."""
    page = health(
        figures(overall=("YELLOW", []), a=("GREEN", []), b=("YELLOW", ["late"]), c=("RED", ["gone"]), d=("GREEN", []))
    )
    places = [
        page.index(it) for it in ("YELLOW</span> for 5 h", "<b>c</b>", "gone", "<b>b</b>", "late", "> a<", "> d<")
    ]
    assert sorted(places) == places


def test_while_the_mirror_is_silent_nothing_looks_green() -> None:
    """What was last known is not what is."""
    page = health(figures(checked=timedelta(minutes=10), overall=("GREEN", []), market=("GREEN", [])))
    assert "GREEN" not in page
    assert "is not running" in page
    assert '<span class="badge UNKNOWN">UNKNOWN</span> market' in page


def test_no_more_reasons_than_one_reads() -> None:
    page = health(figures(overall=("RED", []), a=("RED", [f"reason {number}" for number in range(12)])))
    assert "reason 4" in page
    assert "reason 5" not in page
    assert "and 7 more" in page


@pytest.mark.parametrize(
    ("state", "data_state", "worst"),
    [
        ("PASS", "PASS", "PASS"),
        ("PASS", "UNKNOWN", "PASS"),
        ("PASS", "WARN", "WARN"),
        ("WARN", "FAIL", "FAIL"),
        ("UNKNOWN", "UNKNOWN", "UNKNOWN"),
        ("UNKNOWN", "PASS", "UNKNOWN"),
    ],
)
def test_an_asset_is_as_fresh_as_the_worse_of_its_states(state: str, data_state: str, worst: str) -> None:
    """A table without a time of its data is judged by when it was built."""
    page = freshness([asset("market/markets", state, data_state)])
    assert f">1 {worst}<" in page
    assert (worst != "PASS") == ("market/markets" in page)


def test_however_many_assets_are_late_the_page_stays_short() -> None:
    """The worst are named, the others counted."""
    late = [asset(f"market/late_{number}", "WARN", "PASS") for number in range(10_000)]
    page = freshness([*late, asset("market/gone", "FAIL", "PASS")])
    assert "market/gone" in page
    assert MOST_WEAK - 1 == page.count("market/late_")
    assert f"and {10_001 - MOST_WEAK:,} more" in page
    assert "more</li>" not in freshness(late[:MOST_WEAK])
