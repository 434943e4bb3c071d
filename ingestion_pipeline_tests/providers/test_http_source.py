"""The one HTTP client, against a real server that misbehaves."""

import gc
import gzip
import logging
import threading
import traceback

import pytest
from provider_fakes import KEY, NOW, answer
from pydantic import BaseModel, TypeAdapter
from werkzeug import Response

from ingestion_pipeline.core.errors import (
    CircuitOpenError,
    ConfigurationError,
    ContractError,
    IngestionError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.providers.http import HttpLimits, HttpSource


class _Fact(BaseModel):
    value: int


FACT = TypeAdapter(_Fact)
GOOD = '{"value": 7}'


def serve(httpserver, *responses):
    """Answers /facts with each response in turn, the last one for ever; returns the requests seen."""
    seen, remaining = [], list(responses)

    def handle(request):
        seen.append(request)
        response = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return response() if callable(response) and not isinstance(response, Response) else response

    httpserver.expect_request("/facts").respond_with_handler(handle)
    return seen


def say(text, status=200, **headers):
    return lambda: Response(text, status, {name.replace("_", "-"): it for name, it in headers.items()})


def test_a_good_answer_is_returned_in_its_shape(httpserver, source, breaker):
    """And the breaker hears that all is well."""
    serve(httpserver, say(GOOD))
    assert source().fetch("/facts", FACT).value == 7
    assert breaker.recorded == [True]


def test_server_errors_are_retried(httpserver, source, breaker):
    """Two failures, then an answer: the caller sees the answer only."""
    seen = serve(httpserver, say("", 500), say("", 503, Retry_After="0"), say(GOOD))
    assert source().fetch("/facts", FACT).value == 7
    assert len(seen) == 3
    assert breaker.recorded == [False, False, True]


def test_retries_are_counted_under_the_name_of_the_source(httpserver, source):
    """The first call is none; health shows those of the last five minutes."""
    serve(httpserver, say("", 500), say("", 500), say(GOOD))
    asked = source()
    metrics.take()
    asked.fetch("/facts", FACT)
    asked.fetch("/facts", FACT)
    (retries,) = metrics.take()
    assert ("api_retry_total", 2) == (retries.name, retries.value)
    assert {"service": "fake"} == dict(retries.labels)


def test_server_errors_that_last_are_reported(httpserver, source, breaker):
    """After three attempts the source counts as unavailable."""
    seen = serve(httpserver, say("oops", 502))
    with pytest.raises(ProviderUnavailableError, match="GET /facts: status 502"):
        source().fetch("/facts", FACT)
    assert len(seen) == 3
    assert breaker.recorded == [False] * 3


def test_rate_limited_waits_as_told_and_tries_again(httpserver, source, breaker):
    """A 429 with a short Retry-After is waited for; it is no failure of the source."""
    serve(httpserver, say("{}", 429, Retry_After="0"), say(GOOD))
    assert source().fetch("/facts", FACT).value == 7
    assert breaker.recorded == [True, True]


@pytest.mark.parametrize("status", [429, 418])
def test_long_retry_after_is_handed_to_the_caller(httpserver, source, status):
    """We neither sleep for an hour nor ask again meanwhile: that turns a limit into a ban."""
    seen = serve(httpserver, say("{}", status, Retry_After="3600"))
    asked = source()
    with pytest.raises(RateLimitedError) as first:
        asked.fetch("/facts", FACT)
    with pytest.raises(RateLimitedError) as second:
        asked.fetch("/facts", FACT)
    assert first.value.retry_after_seconds == 3600
    assert 3000 < second.value.retry_after_seconds <= 3600
    assert len(seen) == 1


def test_retry_after_may_be_a_date(httpserver, source):
    """RFC 9110 allows both forms."""
    serve(httpserver, say("{}", 429, Retry_After=f"{NOW.replace(hour=16):%a, %d %b %Y %H:%M:%S} GMT"))
    with pytest.raises(RateLimitedError) as caught:
        source().fetch("/facts", FACT)
    assert caught.value.retry_after_seconds == 3600


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "9" * 400, ""])
def test_unreadable_retry_after_is_ignored(httpserver, source, value):
    """Then the usual back-off applies."""
    seen = serve(httpserver, say("{}", 429, Retry_After=value), say(GOOD))
    assert source().fetch("/facts", FACT).value == 7
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("<html><title>Just a moment</title></html>", "<html><title>Just a moment"),
        ('{"value": 7', '{"value": 7'),
        ('{"value": NaN}', "NaN"),
        ("", "empty"),
        ("[" * 100_000, "[[["),
        (b"\xff\xfe\x00garbage", "garbage"),
        (b'{"value": ' + b"1" * 5000 + b"}", "1111"),
    ],
)
def test_what_is_no_json_is_retried_then_a_broken_contract(httpserver, source, breaker, body, shown):
    """The text says where, what was seen and what was expected; the source is at fault."""
    seen = serve(httpserver, say(body))
    with pytest.raises(ContractError) as caught:
        source().fetch("/facts", FACT)
    assert "fake /facts: body is" in str(caught.value)
    assert shown in caught.value.seen
    assert len(caught.value.seen) < 100
    assert caught.value.expected == "JSON"
    assert len(seen) == 3
    assert breaker.recorded == [False] * 3


def test_garbage_that_passes_is_forgiven(httpserver, source):
    """A proxy's page between two good answers costs one attempt."""
    serve(httpserver, say("<html>"), say(GOOD))
    assert source().fetch("/facts", FACT).value == 7


def test_another_shape_names_the_field(httpserver, source):
    """JSON of another shape is not asked for again."""
    seen = serve(httpserver, say('{"value": "seven"}'))
    with pytest.raises(ContractError) as caught:
        source().fetch("/facts", FACT)
    assert (caught.value.source, caught.value.field, caught.value.seen) == ("fake /facts", "value", "'seven'")
    assert len(seen) == 1


def test_our_own_fault_does_not_open_the_breaker(httpserver, source, breaker):
    """A 404 without an explanation is a broken contract, at once."""
    seen = serve(httpserver, say("<h1>no such page</h1>", 404))
    with pytest.raises(ContractError, match="status is 404"):
        source().fetch("/facts", FACT)
    assert len(seen) == 1
    assert breaker.recorded == [True]


def test_redirects_are_not_followed(httpserver, source):
    """Our key would travel to another host."""
    serve(httpserver, say("", 302, Location="http://127.0.0.1:1/"))
    with pytest.raises(ContractError, match="status is 302"):
        source().fetch("/facts", FACT)


def test_oversized_body_is_refused(httpserver, source, breaker):
    """Read up to the cap, not asked for again."""
    seen = serve(httpserver, say("x" * 100_001))
    with pytest.raises(ContractError, match="body size is over 100000 bytes"):
        source(limits=HttpLimits(max_body_bytes=100_000)).fetch("/facts", FACT)
    assert len(seen) == 1
    assert breaker.recorded == [False]


def test_compressed_bomb_is_refused(httpserver, source):
    """Ten kilobytes that unpack to ten megabytes never exist in memory."""
    serve(httpserver, say(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"))
    with pytest.raises(ContractError, match="body size"):
        source(limits=HttpLimits(max_body_bytes=100_000)).fetch("/facts", FACT)


def test_compressed_answer_is_read(httpserver, source):
    """gzip is what we ask for."""
    serve(httpserver, say(gzip.compress(GOOD.encode()), Content_Encoding="gzip"))
    assert source().fetch("/facts", FACT).value == 7


@pytest.mark.parametrize(
    ("encoding", "body"), [("br", b"\x0b"), ("gzip", b"no gzip"), ("gzip, gzip", gzip.compress(b"{}", mtime=0))]
)
def test_encoding_that_we_did_not_ask_for_is_refused(httpserver, source, encoding, body):
    """Including one within another."""
    serve(httpserver, say(body, Content_Encoding=encoding))
    with pytest.raises(ContractError, match="gzip"):
        source().fetch("/facts", FACT)


def test_truncated_gzip_is_no_json(httpserver, source):
    """Half an archive is not half an answer."""
    serve(httpserver, say(gzip.compress(GOOD.encode())[:12], Content_Encoding="gzip"))
    with pytest.raises(ContractError):
        source().fetch("/facts", FACT)


def test_trickling_body_meets_the_deadline(httpserver, source, breaker):
    """Each byte is in time, the whole never would be."""
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.01):
            yield b" "

    serve(httpserver, lambda: Response(trickle()))
    try:
        with pytest.raises(ProviderUnavailableError, match=r"did not arrive within 0\.1 s"):
            source(limits=HttpLimits(deadline_seconds=0.1)).fetch("/facts", FACT)
    finally:
        stop.set()
    assert breaker.recorded == [False] * 3


def test_silence_is_a_time_out(httpserver, source, breaker):
    """A source that accepts and says nothing is unavailable."""
    stop = threading.Event()
    serve(httpserver, lambda: Response("late") if stop.wait(30) else Response("too late"))
    try:
        with pytest.raises(ProviderUnavailableError, match="ReadTimeout"):
            source(limits=HttpLimits(timeout_seconds=0.05)).fetch("/facts", FACT)
    finally:
        stop.set()
    assert breaker.recorded == [False] * 3


def test_nobody_listens(source, breaker):
    """A refused connection is a failure of the source."""
    asked = source()
    asked._client.base_url = "http://127.0.0.1:9"
    with pytest.raises(ProviderUnavailableError, match="ConnectError"):
        asked.fetch("/facts", FACT)
    assert breaker.recorded == [False] * 3


def test_open_breaker_stops_the_asking(httpserver, source, breaker):
    """Failures add up across calls; then nothing is sent, and nothing is recorded."""
    seen = serve(httpserver, say("", 500))
    asked = source()
    for _ in range(3):
        with pytest.raises((ProviderUnavailableError, CircuitOpenError)):
            asked.fetch("/facts", FACT)
    with pytest.raises(CircuitOpenError):
        asked.fetch("/facts", FACT)
    assert len(seen) == breaker.threshold == len(breaker.recorded)


def test_the_source_may_explain_its_errors(httpserver, source):
    """What the provider makes of an answer wins over the status, even a good one."""

    def explain(it):
        return RateLimitedError("fake", 99.0) if it.body == {"error": 429} else None

    serve(httpserver, say('{"error": 429}'))
    with pytest.raises(RateLimitedError) as caught:
        source(explain=explain).fetch("/facts", FACT)
    assert caught.value.retry_after_seconds == 99


def test_the_source_may_ask_for_a_pause(httpserver, source):
    """A budget that is nearly used is respected before it is refused."""
    seen = serve(httpserver, say(GOOD))
    asked = source(pause_seconds=lambda _: 500.0)
    asked.fetch("/facts", FACT)
    with pytest.raises(RateLimitedError):
        asked.fetch("/facts", FACT)
    assert len(seen) == 1


@pytest.mark.parametrize("url", ["ftp://example.com", "example.com", "", "http://", "http://[::1"])
def test_wrong_base_url_names_its_variable(breaker, url, source):
    """Found when the source is made, not when it is asked."""
    rate = source()._rate
    with pytest.raises(ConfigurationError, match="COINGECKO_URL"):
        HttpSource("coingecko", url, breaker=breaker, rate=rate)


FAULTS = {
    "echo": lambda: answer({"value": KEY}),
    "html": lambda: Response(f"<html>{KEY}</html>"),
    "straddling": lambda: Response("<" + "x" * 75 + KEY),
    "refused": lambda: answer({"your key": KEY}, 401),
    "server": lambda: Response(KEY, 500),
    "limited": lambda: Response(KEY, 429, {"Retry-After": "9999"}),
    "redirect": lambda: Response("", 302, {"Location": f"/{KEY}"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_and_no_log_line_holds_the_key(httpserver, source, caplog, fault):
    """Whatever the source does, even if it sends our key back."""
    serve(httpserver, FAULTS[fault])
    with caplog.at_level(logging.INFO), pytest.raises(IngestionError) as caught:
        source(headers={"x-api-key": KEY}).fetch("/facts", FACT, params={"q": "1"})
    text = "".join(traceback.format_exception(caught.value))
    assert KEY not in text
    assert KEY not in repr(caught.value)
    assert KEY not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("httpx")]


def test_a_key_that_is_no_header_is_not_quoted(httpserver, source):
    """h11 would quote the whole header in its error."""
    serve(httpserver, say(GOOD))
    with pytest.raises(ProviderUnavailableError) as caught:
        source(headers={"x-api-key": f"{KEY}\n"}).fetch("/facts", FACT)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_the_key_is_sent(httpserver, source):
    """The canary above proves nothing if the key never leaves."""
    seen = serve(httpserver, say(GOOD))
    source(headers={"x-api-key": KEY}).fetch("/facts", FACT)
    assert seen[0].headers["x-api-key"] == KEY
    assert KEY not in seen[0].url


def test_connections_are_closed_with_the_source(httpserver, source):
    """A forgotten source leaves no socket behind."""
    serve(httpserver, say(GOOD))
    asked = source()
    client = asked._client
    asked.fetch("/facts", FACT)
    del asked
    gc.collect()  # the retry machinery refers to itself
    assert client.is_closed
