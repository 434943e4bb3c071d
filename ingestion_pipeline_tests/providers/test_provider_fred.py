"""FRED against its recorded shapes: what it answers, what it refuses, and what it does on a bad day."""

import logging
import threading
import time
import traceback
from datetime import date

import pytest
from limits import parse
from provider_fakes import InProcessBreaker, answer
from werkzeug import Response

from ingestion_pipeline.core.errors import (
    CircuitOpenError,
    ConfigurationError,
    ContractError,
    IngestionError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.providers.fred import RATE, FredProvider, FredSource, Series, fred_provider
from ingestion_pipeline.providers.http import HttpLimits
from ingestion_pipeline.providers.rate import RateGate
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.breakers import PostgresBreaker

KEY = "0123456789abcdef0123456789canary"
PATH = "/series/observations"
VINTAGE = "2026-03-02"


def page(*observations, count=None, offset=0, limit=100_000):
    """As FRED writes it (FORMATS F1); `observations` are (day, value) pairs."""
    return {
        "realtime_start": VINTAGE,
        "realtime_end": VINTAGE,
        "observation_start": "1600-01-01",
        "observation_end": "9999-12-31",
        "units": "lin",
        "output_type": 1,
        "file_type": "json",
        "order_by": "observation_date",
        "sort_order": "asc",
        "count": len(observations) if count is None else count,
        "offset": offset,
        "limit": limit,
        "observations": [
            {"realtime_start": VINTAGE, "realtime_end": VINTAGE, "date": day, "value": value}
            for day, value in observations
        ],
    }


GOOD = page(("2026-01-01", "4.1"), ("2026-02-01", "."), ("2026-03-01", "-0.25"))


def refusal(text, status=400):
    return answer({"error_code": status, "error_message": text}, status)


@pytest.fixture
def fred(httpserver, breaker):
    """Makes the provider on the loopback server; keyword arguments go to the source."""

    def make(*, page_rows=100_000, **over):
        arguments = {"breaker": breaker, "rate": RateGate(new_id(), "100000/minute")} | over
        return FredProvider(FredSource(httpserver.url_for(""), key=KEY, **arguments), page_rows=page_rows)

    return make


def serve(httpserver, *responses):
    """Answers with each response in turn, the last one for ever; returns the requests seen."""
    seen, remaining = [], list(responses)

    def handle(request):
        seen.append(request)
        response = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        response = response(request) if callable(response) and not isinstance(response, Response) else response
        # a response object is written once
        return Response(response.get_data(), response.status, response.headers)

    httpserver.expect_request(PATH).respond_with_handler(handle)
    return seen


def test_a_series_is_read_whole_and_missing_is_none(httpserver, fred):
    """The value is text, "." is missing, the real-time start is the vintage; asked for once, as JSON."""
    seen = serve(httpserver, answer(GOOD))
    days = [(date(2026, 1, 1), 4.1), (date(2026, 2, 1), None), (date(2026, 3, 1), -0.25)]
    assert fred().fetch_series("UNRATE") == Series("UNRATE", date(2026, 3, 2), days)
    (request,) = seen
    asked = dict(request.args)
    assert {"series_id": "UNRATE", "api_key": KEY, "file_type": "json"}.items() <= asked.items()


def test_pages_beyond_the_limit_are_read_too(httpserver, fred):
    """Five observations in pages of two: three requests, none twice, none lost."""
    values = [(f"2026-01-0{n}", str(n)) for n in range(1, 6)]

    def paged(request):
        offset, limit = int(request.args["offset"]), int(request.args["limit"])
        return answer(page(*values[offset : offset + limit], count=5, offset=offset, limit=limit))

    seen = serve(httpserver, paged)
    series = fred(page_rows=2).fetch_series("DGS10")
    assert [value for _, value in series.observations] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [int(it.args["offset"]) for it in seen] == [0, 2, 4]


@pytest.mark.parametrize("given", [[("2026-01-01", "1")], []])
def test_a_part_of_a_series_is_no_series(httpserver, fred, given):
    """Under load FRED is said to answer in part: fewer observations than it counts."""
    pages = [answer(page(*given, count=3)), answer(page(count=3, offset=1))]
    serve(httpserver, *pages)
    with pytest.raises(ContractError, match=r"UNRATE\.(count is 3|observations is empty)"):
        fred().fetch_series("UNRATE")


def test_an_empty_series_is_not_taken_for_one(httpserver, fred):
    """No observation at all: nothing to store, and somebody should know."""
    serve(httpserver, answer(page()))
    with pytest.raises(ContractError, match=r"UNRATE\.observations is empty, expected at least one"):
        fred().fetch_series("UNRATE")


def test_a_series_that_does_not_exist_is_a_wrong_setting(httpserver, fred, breaker):
    """Unknown or withdrawn: it must raise, not come out blank. The breaker has nothing to do with it."""
    seen = serve(httpserver, refusal("Bad Request.  The series does not exist."))
    with pytest.raises(ConfigurationError) as caught:
        fred().fetch_series("GOLDAMGBD228NLBM")
    assert (caught.value.variable, caught.value.value) == ("FRED_SERIES", "GOLDAMGBD228NLBM")
    assert len(seen) == 1
    assert breaker.recorded == [True]


@pytest.mark.parametrize(
    "text",
    [
        "Bad Request.  The value for variable api_key is not registered.  Read http://research.stlouisfed.org/docs/",
        "Bad Request.  Variable api_key is not set.  Read http://research.stlouisfed.org/docs/api/fred/",
        "Bad Request.  The value for variable api_key is not a 32 character alpha-numeric lower-case string.",
    ],
)
def test_a_wrong_key_is_a_wrong_setting(httpserver, fred, text):
    """Named, never shown."""
    serve(httpserver, refusal(text))
    with pytest.raises(ConfigurationError) as caught:
        fred().fetch_series("UNRATE")
    assert (caught.value.variable, caught.value.value) == ("FRED_API_KEY", "***")


def test_another_refusal_is_a_broken_contract(httpserver, fred):
    """What FRED says of it is in the text."""
    serve(httpserver, refusal("Bad Request.  Variable limit is not between 1 and 100000."))
    with pytest.raises(ContractError, match="limit is not between"):
        fred().fetch_series("UNRATE")


def test_a_limit_is_waited_for_and_a_long_one_handed_on(httpserver, fred):
    """429 with a short Retry-After: asked again; with a long one, or in the body: the caller postpones."""
    seen = serve(httpserver, answer({}, 429, **{"Retry-After": "0"}), answer(GOOD))
    assert len(fred().fetch_series("UNRATE").observations) == 3
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("limited", "wait"),
    [
        (answer({}, 429, **{"Retry-After": "120"}), 120.0),
        (answer({}, 429), None),
        (answer({"error_code": 429, "error_message": "Too Many Requests.  Exceeded Rate Limit"}), None),
        (Response("<html>Too Many Requests</html>", 429), None),
    ],
)
def test_a_limit_that_lasts_is_told(httpserver, fred, breaker, limited, wait):
    """With how long to wait where FRED says so; its limit is no failure of FRED."""
    serve(httpserver, limited)
    with pytest.raises(RateLimitedError) as caught:
        fred().fetch_series("UNRATE")
    assert caught.value.retry_after_seconds == wait
    assert set(breaker.recorded) == {True}


@pytest.mark.parametrize(
    "response",
    [
        Response("<html><title>FRED is being maintained</title></html>", content_type="text/html"),
        Response("", 200),
        Response('{"realtime_start": "2026-03-02", "count": 3, "obser', content_type="application/json"),
        answer([]),
        answer({"seriess": []}),
        answer(page(("2026-01-01", 4.1))),
        answer(page(("2026-01-01", "four"))),
        answer(page(("2026-01-01", "NaN"))),
        answer(page(("yesterday", "4"))),
        answer(page(("2026-01-01", "4")) | {"count": -1}),
        answer(page(("2026-01-01", "4")) | {"realtime_start": "."}),
        Response('<?xml version="1.0"?><observations count="0"/>', content_type="text/xml"),
    ],
)
def test_other_shapes_are_broken_contracts(httpserver, fred, response):
    """A maintenance page, half an answer, other JSON, a value that is no number."""
    serve(httpserver, response)
    with pytest.raises(ContractError):
        fred().fetch_series("UNRATE")


def test_a_maintenance_page_that_passes_is_forgiven(httpserver, fred):
    """One attempt is lost."""
    seen = serve(httpserver, Response("<html>", content_type="text/html"), answer(GOOD))
    assert len(fred().fetch_series("UNRATE").observations) == 3
    assert len(seen) == 2


def test_server_errors_are_retried_and_then_told(httpserver, fred):
    """500 twice, then an answer; 500 for good is no answer."""
    seen = serve(httpserver, answer({}, 500), answer({}, 502), answer(GOOD), answer({}, 500))
    assert len(fred().fetch_series("UNRATE").observations) == 3
    with pytest.raises(ProviderUnavailableError, match="status 500"):
        fred().fetch_series("UNRATE")
    assert len(seen) == 6


def test_slow_answers_are_given_up(httpserver, fred, breaker):
    """The time-out of PROVIDER_TIMEOUT_SECONDS holds; the breaker hears of it."""
    is_over = threading.Event()

    def slow(_):
        is_over.wait(30)
        return answer(GOOD)

    serve(httpserver, slow)
    try:
        with pytest.raises(ProviderUnavailableError, match="ReadTimeout"):
            fred(limits=HttpLimits(timeout_seconds=0.05)).fetch_series("UNRATE")
    finally:
        is_over.set()
    assert breaker.recorded == [False] * 3


def test_the_breaker_opens_lets_one_probe_through_and_closes(httpserver, fred, postgres):
    """Five failures in a row keep everybody away; after the pause one is let through; an answer ends it."""
    seen = serve(httpserver, *[answer({}, 500)] * 7, answer(GOOD))
    provider = fred(breaker=PostgresBreaker(postgres))
    state = "select state from operations.circuit_breakers where name = 'fred'"

    def shown():
        with postgres.transaction() as connection:
            return connection.execute(state).fetchone()[0]

    def let_time_pass():
        postgres.execute("update operations.circuit_breakers set retry_at = clock_timestamp() where name = 'fred'")

    for _ in range(2):
        with pytest.raises((ProviderUnavailableError, CircuitOpenError)):
            provider.fetch_series("UNRATE")
    assert (len(seen), shown()) == (5, "open")
    with pytest.raises(CircuitOpenError):
        provider.fetch_series("UNRATE")
    assert len(seen) == 5

    let_time_pass()
    with pytest.raises((ProviderUnavailableError, CircuitOpenError)):
        provider.fetch_series("UNRATE")
    assert (len(seen), shown()) == (6, "open")
    let_time_pass()
    with pytest.raises((ProviderUnavailableError, CircuitOpenError)):
        provider.fetch_series("UNRATE")
    let_time_pass()
    assert len(provider.fetch_series("UNRATE").observations) == 3
    assert (len(seen), shown()) == (8, "closed")


def test_two_requests_a_second_are_never_exceeded(monkeypatch):
    """In no second of a fake clock do three pass."""
    now, passed = [1_000_000.0], []
    monkeypatch.undo()
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr("ingestion_pipeline.core.clock.utc_now", lambda: _Instant(now[0]))

    def sleep(seconds):
        now[0] += seconds

    gate = RateGate(f"fred-{new_id()}", RATE, sleep=sleep)
    for _ in range(9):
        gate.wait()
        passed.append(now[0])
    assert all(later - earlier >= 1 for earlier, later in zip(passed, passed[2:], strict=False))
    assert passed[-1] - passed[0] < 6


class _Instant:
    def __init__(self, seconds):
        self._seconds = seconds

    def timestamp(self):
        return self._seconds


def test_the_key_is_in_no_error_and_no_log(httpserver, fred, caplog):
    """Whatever FRED or a proxy echoes, whole or cut within the key; only the request itself holds it."""
    caplog.set_level(logging.INFO)
    echoes = [
        Response(f"<html>{'x' * cut} GET {PATH}?api_key={KEY}&file_type=json</html>", status)
        for status in (200, 403, 500)
        for cut in (0, 10, 20, 30, 33, 36, 40)
    ]
    echoes += [
        refusal(f"Bad Request.  {KEY} is odd."),
        answer({"realtime_start": KEY}),
        answer(page(("2026-01-01", KEY))),
        answer({}, 302, Location=f"/?api_key={KEY}"),
    ]
    for echo in echoes:
        httpserver.clear()
        seen = serve(httpserver, echo)
        with pytest.raises(IngestionError) as caught:
            fred(breaker=InProcessBreaker()).fetch_series("UNRATE")
        logged = "".join(str(vars(it)) for it in caplog.records if it.name != "werkzeug")  # the server's own
        text = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + logged
        assert not [part for part in (KEY[:8], KEY[-8:]) if part in text], text
        assert seen[0].args["api_key"] == KEY


def test_it_is_made_from_the_settings(httpserver):
    """URL and key are those of the settings, two requests a second; without a key there is none."""
    httpserver.expect_request(f"/fred{PATH}").respond_with_json(GOOD)
    settings = Settings.from_environment({"FRED_URL": httpserver.url_for("/fred"), "FRED_API_KEY": KEY})
    made = fred_provider(settings, breaker=InProcessBreaker())
    assert made is not None
    assert len(made.fetch_series("UNRATE").observations) == 3
    assert made._source._rate._limit == parse("2/second")
    assert fred_provider(Settings.from_environment({"FRED_API_KEY": ""}), breaker=InProcessBreaker()) is None
