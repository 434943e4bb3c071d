"""Half-open spans of UTC time: what every read, write and partition is bounded by.

Belongs here: making, splitting and walking windows. Does not belong here: Dagster's partitions (orchestration).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Window:
    """`start` included, `end` excluded; both timezone-aware, kept as UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"window bounds need a time zone: {self.start}, {self.end}")
        if self.end < self.start:
            raise ValueError(f"window ends before it starts: {self.start}, {self.end}")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))

    @classmethod
    def of_days(cls, first: date, last: date) -> Self:
        """The whole UTC days `first` to `last`, both included."""
        return cls(midnight(first), midnight(last) + DAY)

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def last_day(self) -> date:
        """The last UTC day that the window touches."""
        return (self.end - timedelta(microseconds=1)).date()

    def days(self) -> list[date]:
        """Every UTC day that the window touches, ascending; none if the window is empty."""
        if self.start == self.end:
            return []
        count = (self.last_day - self.first_day).days + 1
        return [self.first_day + timedelta(days=i) for i in range(count)]

    def widened(self, *, before: timedelta = timedelta(0), after: timedelta = timedelta(0)) -> "Window":
        return Window(self.start - before, self.end + after)

    def split(self, *, days: int) -> Iterator["Window"]:
        """Consecutive windows of at most `days` days that cover this one, ascending."""
        if days < 1:
            raise ValueError(f"a window is split into parts of at least one day, not {days}")
        start = self.start
        while start < self.end:
            end = min(start + timedelta(days=days), self.end)
            yield Window(start, end)
            start = end


def midnight(day: date) -> datetime:
    """The first instant of a UTC day."""
    return datetime.combine(day, time(), tzinfo=UTC)
