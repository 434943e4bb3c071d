"""Calendars: sessions in UTC, with the exchange's holidays, early closes and daylight saving."""

from datetime import UTC, date, datetime

import pandas as pd
import pytest

from ingestion_pipeline.core.calendars import ALWAYS_OPEN, trading_sessions
from ingestion_pipeline.core.windows import Window


def at(day: str, time: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{time}+00:00")


def sessions(calendar: str, first: str, last: str) -> list[tuple[str, datetime, datetime]]:
    frame = trading_sessions(calendar, Window.of_days(date.fromisoformat(first), date.fromisoformat(last)))
    return [(str(row.day), row.open_at.to_pydatetime(), row.close_at.to_pydatetime()) for row in frame.itertuples()]


def test_a_market_that_never_closes_has_one_session_a_utc_day() -> None:
    """Weekend or holiday, from midnight to midnight."""
    expected = [
        ("2026-12-25", at("2026-12-25", "00:00"), at("2026-12-26", "00:00")),
        ("2026-12-26", at("2026-12-26", "00:00"), at("2026-12-27", "00:00")),
    ]
    assert expected == sessions(ALWAYS_OPEN, "2026-12-25", "2026-12-26")


def test_new_york_closes_early_on_the_day_after_thanksgiving_and_not_at_all_on_thanksgiving() -> None:
    """At 13:00 in New York, which is 18:00 UTC in winter; the weekend has no sessions."""
    expected = [
        ("2025-11-26", at("2025-11-26", "14:30"), at("2025-11-26", "21:00")),
        ("2025-11-28", at("2025-11-28", "14:30"), at("2025-11-28", "18:00")),
        ("2025-12-01", at("2025-12-01", "14:30"), at("2025-12-01", "21:00")),
    ]
    assert expected == sessions("XNYS", "2025-11-26", "2025-12-01")


def test_sessions_follow_daylight_saving() -> None:
    """New York opens at 9:30 there: 14:30 UTC before the clocks go forward, 13:30 after."""
    expected = [
        ("2026-03-06", at("2026-03-06", "14:30"), at("2026-03-06", "21:00")),
        ("2026-03-09", at("2026-03-09", "13:30"), at("2026-03-09", "20:00")),
    ]
    assert expected == sessions("XNYS", "2026-03-06", "2026-03-09")


@pytest.mark.parametrize(
    ("first", "last"),
    [("2026-03-07", "2026-03-08"), ("2025-12-25", "2025-12-25"), ("1980-01-01", "1980-02-01")],
    ids=["weekend", "holiday", "before the calendar begins"],
)
def test_where_nothing_trades_there_are_no_sessions(first: str, last: str) -> None:
    """An empty frame with the same columns, not an error."""
    frame = trading_sessions("XNYS", Window.of_days(date.fromisoformat(first), date.fromisoformat(last)))
    assert (0, ["day", "open_at", "close_at"]) == (len(frame), list(frame.columns))


@pytest.mark.parametrize("calendar", [ALWAYS_OPEN, "XNYS"])
def test_an_empty_window_has_no_sessions(calendar: str) -> None:
    """No instant, no session."""
    noon = at("2026-03-04", "12:00")
    assert 0 == len(trading_sessions(calendar, Window(noon, noon)))


def test_a_window_that_reaches_back_before_1990_has_the_sessions_that_are_known() -> None:
    """The first known session is 2 January 1990."""
    assert ["1990-01-02", "1990-01-03"] == [day for day, _, _ in sessions("XNYS", "1989-12-25", "1990-01-03")]


@pytest.mark.parametrize("calendar", ["XTKS", "XBOM", "XSHG"])
def test_exchanges_whose_holidays_are_recorded_later_still_have_sessions(calendar: str) -> None:
    """Tokyo is known from 1997, Mumbai too, Shanghai from 1991: not from 1990."""
    assert ["2026-03-02"] == [day for day, _, _ in sessions(calendar, "2026-02-28", "2026-03-02")]


@pytest.mark.parametrize("calendar", [ALWAYS_OPEN, "XNYS"])
def test_instants_are_utc_in_microseconds(calendar: str) -> None:
    """The same type as every other instant here, so that frames join without a cast."""
    frame = trading_sessions(calendar, Window.of_days(date(2026, 3, 2), date(2026, 3, 3)))
    expected = pd.DatetimeTZDtype("us", UTC)
    assert [expected, expected] == [frame["open_at"].dtype, frame["close_at"].dtype]
