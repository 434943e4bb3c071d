"""The only place that reads the clock. Instants are timezone-aware UTC everywhere."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The current instant, UTC, timezone-aware."""
    return datetime.now(UTC)
