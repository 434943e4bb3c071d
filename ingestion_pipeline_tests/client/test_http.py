"""What an answer means."""

import time
from email.utils import formatdate

import pytest

from ingestion_pipeline.client.http import Answer, Service, Verdict, _retry_after_seconds


def answer(status: int | None, *, body: dict[str, object] | None = None, wait: float | None = None) -> Answer:
    return Answer(status=status, body=body, reason="", retry_after_seconds=wait)


@pytest.mark.parametrize("status", [None, 200, 301, 401, 403, 404, 408, 415, 429, 500, 502, 503, 504])
def test_events_survive_what_is_no_statement_about_them(status: int | None) -> None:
    """Outages, limits, a wrong token or address, and a page of somebody else's at 200."""
    assert answer(status).verdict(1) is Verdict.LATER


@pytest.mark.parametrize("status", [400, 413, 422])
def test_events_that_the_service_cannot_read_are_refused(status: int) -> None:
    assert answer(status).verdict(1) is Verdict.REFUSED


def test_an_internal_error_that_stays_is_the_events_fault() -> None:
    """So that one of them does not hold up the others for ever; an outage (503) may last."""
    assert [answer(500).verdict(attempt) for attempt in (7, 8)] == [Verdict.LATER, Verdict.REFUSED]
    assert answer(503).verdict(1000) is Verdict.LATER


def test_taken_is_what_the_intake_says() -> None:
    assert answer(202, body={"accepted": 0}).verdict(1) is Verdict.TAKEN


def test_back_off_grows_to_a_minute_and_is_spread() -> None:
    pauses = {attempt: [answer(503).pause_seconds(attempt) for _ in range(50)] for attempt in (1, 2, 5, 5000)}
    assert all(0.25 <= pause <= 0.5 for pause in pauses[1])
    assert all(0.5 <= pause <= 1 for pause in pauses[2])
    assert all(4 <= pause <= 8 for pause in pauses[5])
    assert all(30 <= pause <= 60 for pause in pauses[5000])
    assert len(set(pauses[1])) > 1


def test_wait_that_the_service_asks_for_is_never_shortened() -> None:
    assert all(30 <= answer(429, wait=30).pause_seconds(1) <= 33 for _ in range(50))


def test_retry_after_is_read_in_both_forms() -> None:
    in_a_minute = _retry_after_seconds(formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute is not None
    assert 0 < in_a_minute <= 60
    assert _retry_after_seconds("7") == 7


@pytest.mark.parametrize("header", [None, "", "soon", "-3", "\u00b2", "Wed, 99 Foo 2024"])
def test_retry_after_that_says_nothing_is_ignored(header: str | None) -> None:
    assert _retry_after_seconds(header) is None


@pytest.mark.parametrize(("header", "seconds"), [("9" * 400, 600), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)])
def test_absurd_retry_after_is_bounded(header: str, seconds: float) -> None:
    assert _retry_after_seconds(header) == seconds


@pytest.mark.parametrize("url", ["", "localhost:8787", "ftp://host", "http://"])
def test_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="expected http"):
        Service(url, "token", timeout_seconds=1)
