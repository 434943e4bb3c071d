"""A source that has delivered and does so no more is missed, each by its own measure."""

from datetime import UTC, datetime, timedelta

from ingestion_pipeline.core.silence import parse_silence
from ingestion_pipeline.domains.operations.silence import SilentSource, silent_sources
from ingestion_pipeline.storage.inbox import NewDelivery, Scheme, accept_all
from ingestion_pipeline.storage.postgres import Postgres

NOW = datetime(2025, 3, 3, 12, tzinfo=UTC)


def delivered(postgres: Postgres, source: str, at: datetime) -> None:
    with postgres.transaction() as connection:
        connection.execute(
            "insert into operations.delivery_sources (source, first_received_at, last_received_at) values (%s, %s, %s)",
            [source, at, at],
        )


def test_a_silent_source_is_named_with_how_long(postgres: Postgres) -> None:
    last = NOW - timedelta(hours=25)
    delivered(postgres, "acme", last)
    delivered(postgres, "busy", NOW - timedelta(hours=23))
    assert [SilentSource("acme", last, timedelta(hours=25), timedelta(hours=24))] == silent_sources(
        postgres, parse_silence("24h"), now=NOW
    )


def test_a_source_has_its_own_measure(postgres: Postgres) -> None:
    for source in ("hourly", "weekly", "daily"):
        delivered(postgres, source, NOW - timedelta(hours=25))
    silence = parse_silence("2d,hourly=1h,daily=1d,weekly=7d")
    assert ["daily", "hourly"] == [it.source for it in silent_sources(postgres, silence, now=NOW)]


def test_one_that_is_off_is_not_missed(postgres: Postgres) -> None:
    for source in ("acme", "once"):
        delivered(postgres, source, NOW - timedelta(days=400))
    assert ["acme"] == [it.source for it in silent_sources(postgres, parse_silence("24h,once=off"), now=NOW)]
    assert ["once"] == [it.source for it in silent_sources(postgres, parse_silence("off,once=1h"), now=NOW)]


def test_one_that_only_drops_files_is_missed_if_it_is_named(postgres: Postgres) -> None:
    """A file may have come once and for all; a webhook makes its source one that is expected."""

    def accepted(key: str, scheme: Scheme) -> None:
        delivery = NewDelivery(
            source="acme", idempotency_key=key, event_type="t", payload=b"{}", scheme=scheme, signed_by="x"
        )
        with postgres.transaction() as connection:
            accept_all(connection, [delivery])

    later = datetime.now(UTC) + timedelta(days=2)
    accepted("1", "file")
    assert [] == silent_sources(postgres, parse_silence("24h"), now=later)
    assert ["acme"] == [it.source for it in silent_sources(postgres, parse_silence("24h,acme=1d"), now=later)]
    accepted("2", "sha256")
    accepted("3", "file")
    assert ["acme"] == [it.source for it in silent_sources(postgres, parse_silence("24h"), now=later)]


def test_exactly_as_long_as_allowed_is_not_too_long(postgres: Postgres) -> None:
    delivered(postgres, "acme", NOW - timedelta(hours=24))
    assert [] == silent_sources(postgres, parse_silence("24h"), now=NOW)
    assert 1 == len(silent_sources(postgres, parse_silence("24h"), now=NOW + timedelta(microseconds=1)))


def test_a_source_that_never_delivered_is_not_missed(postgres: Postgres) -> None:
    assert [] == silent_sources(postgres, parse_silence("24h,acme=1h"))


def test_a_delivery_ends_the_silence(postgres: Postgres) -> None:
    """By the clock of now."""
    delivery = NewDelivery(
        source="acme", idempotency_key="1", event_type="t", payload=b"{}", scheme="sha256", signed_by="acme 1"
    )
    delivered(postgres, "acme", NOW)
    assert 1 == len(silent_sources(postgres, parse_silence("24h")))
    with postgres.transaction() as connection:
        accept_all(connection, [delivery])
    assert [] == silent_sources(postgres, parse_silence("1m"))
