"""Windows: laws of half-open spans of UTC time."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.core.windows import DAY, Window, midnight

DATES = st.dates(date(2000, 1, 1), date(2050, 1, 1))
INSTANTS = st.builds(lambda day, past: midnight(day) + past, DATES, st.timedeltas(timedelta(0), DAY))
SPANS = st.timedeltas(timedelta(0), timedelta(days=400))
WINDOWS = st.builds(lambda start, span: Window(start, start + span), INSTANTS, SPANS)


@given(WINDOWS, st.integers(1, 500))
def test_split_covers_the_window_exactly(window: Window, days: int) -> None:
    """Parts follow each other without gap or overlap, from the first instant to the last."""
    parts = list(window.split(days=days))
    edges = [window.start, *(part.end for part in parts)]
    assert [*edges[:-1], window.end] == [*(part.start for part in parts), edges[-1]]


@given(WINDOWS, st.integers(1, 500))
def test_split_parts_are_never_empty_nor_longer_than_asked(window: Window, days: int) -> None:
    """Whoever reads a part reads something, and at most `days` days."""
    assert {True} >= {timedelta(0) < part.end - part.start <= timedelta(days=days) for part in window.split(days=days)}


@given(st.integers(max_value=0))
def test_split_into_parts_of_no_days_is_refused(days: int) -> None:
    """Rather than walking for ever."""
    with pytest.raises(ValueError, match="at least one day"):
        list(Window.of_days(date(2026, 1, 1), date(2026, 1, 2)).split(days=days))


@given(WINDOWS)
def test_days_are_those_that_hold_an_instant_of_the_window(window: Window) -> None:
    """A day is touched if the two half-open spans meet; an empty window touches none."""
    around = [window.start.date() + timedelta(days=i) for i in range(-1, (window.end - window.start).days + 3)]
    touched = [day for day in around if max(midnight(day), window.start) < min(midnight(day) + DAY, window.end)]
    assert touched == window.days()


@given(INSTANTS)
def test_an_empty_window_touches_no_day(instant: datetime) -> None:
    """Whatever the time of day; it has no parts either."""
    window = Window(instant, instant)
    assert ([], []) == (window.days(), list(window.split(days=1)))


@given(DATES, st.integers(0, 400))
def test_of_days_holds_the_first_and_the_last_day(first: date, count: int) -> None:
    """Whole days in, the same days out."""
    last = first + timedelta(days=count)
    window = Window.of_days(first, last)
    assert (first, last, count + 1) == (window.first_day, window.last_day, len(window.days()))


def test_the_end_is_excluded() -> None:
    """A window that ends at midnight does not touch the day that begins there."""
    window = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    assert ([date(2026, 1, 1)], date(2026, 1, 1)) == (window.days(), window.last_day)


def test_days_are_utc_days_whatever_zone_the_bounds_came_in() -> None:
    """Eight in the morning in Tokyo is still yesterday in UTC."""
    tokyo = timezone(timedelta(hours=9))
    window = Window(datetime(2026, 1, 2, 8, tzinfo=tokyo), datetime(2026, 1, 2, 9, tzinfo=tokyo))
    assert ([date(2026, 1, 1)], UTC) == (window.days(), window.start.tzinfo)


@given(WINDOWS, SPANS, SPANS)
def test_widening_moves_both_edges_outwards(window: Window, before: timedelta, after: timedelta) -> None:
    """And nothing else."""
    assert Window(window.start - before, window.end + after) == window.widened(before=before, after=after)


def test_bounds_without_a_time_zone_are_refused() -> None:
    """A naive instant means something else on every machine."""
    with pytest.raises(ValueError, match="time zone"):
        Window(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None), datetime(2026, 1, 2, tzinfo=UTC))


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    """Instead of reading nothing in silence."""
    with pytest.raises(ValueError, match="ends before it starts"):
        Window(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
