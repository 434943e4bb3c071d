"""CoinGecko, against a loopback server that answers the documented shapes."""

import logging
import re
import traceback
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from provider_fakes import KEY, NOW, FakeCoinGecko, InProcessBreaker, price_at
from provider_suite import ProviderSuite
from werkzeug import Response

from ingestion_pipeline.core.errors import (
    ConfigurationError,
    ContractError,
    IngestionError,
    RateLimitedError,
    UnknownSymbolError,
)
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.coingecko import CoinGeckoProvider, coingecko_provider, explain
from ingestion_pipeline.providers.coingecko_points import hourly_bars, spans
from ingestion_pipeline.settings import Settings

CHART = re.compile("/v3/coins/.+/market_chart/range")


@pytest.fixture
def fake():
    return FakeCoinGecko()


@pytest.fixture
def coingecko(httpserver, source, fake):
    httpserver.expect_request("/v3/coins/markets").respond_with_handler(fake.markets)
    httpserver.expect_request("/v3/simple/price").respond_with_handler(fake.prices)
    httpserver.expect_request(CHART).respond_with_handler(fake.chart)
    return CoinGeckoProvider(source("coingecko", path="/v3", explain=explain))


class TestCoinGeckoProvider(ProviderSuite):
    symbols = ("ETH-USD", "BTC-USD")
    window = Window.of_days(date(2025, 6, 10), date(2025, 6, 14))
    quiet_window = Window.of_days(date(2025, 7, 1), date(2025, 7, 3))
    unknown = "BTC-UDS"
    nearest = "BTC-USD"

    @pytest.fixture
    def provider(self, coingecko):
        return coingecko


def test_a_bar_goes_from_the_price_of_its_hour_to_that_of_the_next(coingecko):
    """Only points are used, and every one of them is in the answer of the source."""
    bars = coingecko.fetch_bars("BTC-USD", Window.of_days(date(2025, 6, 10), date(2025, 6, 10)))
    assert len(bars) == 24
    starts = [int(at.timestamp()) * 1000 + FakeCoinGecko.lateness_ms for at in bars["bar_start_at"]]
    assert bars["open"].tolist() == [price_at(at) for at in starts]
    assert bars["close"].tolist() == [price_at(at + 3_600_000) for at in starts]
    assert (bars["high"] == bars[["open", "close"]].max(axis=1)).all()
    assert bars["adj_close"].isna().all()


def test_volume_is_an_hour_of_the_rolling_day_in_base_units(coingecko):
    """The fake trades ten coins an hour."""
    bars = coingecko.fetch_bars("BTC-USD", TestCoinGeckoProvider.window)
    assert bars["volume"].tolist() == pytest.approx([10.0] * len(bars))


def test_a_year_is_asked_for_in_spans_that_come_hourly(coingecko, httpserver):
    """More than ninety days at once would come as daily points."""
    bars = coingecko.fetch_bars("BTC-USD", Window(NOW - timedelta(days=300), NOW))
    assert len(bars) == 300 * 24 - 1
    asked = [
        int(it.args["to"]) - int(it.args["from"]) for it, _ in httpserver.log if it.path.endswith("market_chart/range")
    ]
    assert len(asked) == 4
    assert all(2 * 86_400 <= seconds <= 90 * 86_400 for seconds in asked)


def test_the_point_of_now_is_no_price_of_an_hour(coingecko, fake):
    """While the sample of 15:00 is missing, the answer ends with the point of now; later it would be another price."""
    fake.lateness_ms = 3_000_000
    assert coingecko.fetch_bars("BTC-USD", Window(NOW - timedelta(hours=5), NOW)).empty


def test_a_missing_hour_is_a_gap():
    """Neither invented nor bridged."""
    hour = 3_600_000
    points = [(0, 10.0), (hour, 12.0), (3 * hour, 11.0), (4 * hour, None), (5 * hour, 9.0), (6 * hour, 8.0)]
    bars = hourly_bars(points, [(hour, None), (6 * hour, 192.0)])
    assert (bars.start_us // 3_600_000_000).tolist() == [0, 5]
    assert bars.prices.T.tolist() == [[10.0, 12.0, 10.0, 12.0, 0.0], [9.0, 9.0, 8.0, 8.0, 1.0]]


@pytest.mark.parametrize("hours_ago", [0, 1, 30, 2000])
@pytest.mark.parametrize("hours", [1, 24, 24 * 89, 24 * 200])
def test_spans_cover_the_window_and_keep_to_the_hourly_grain(hours_ago, hours):
    """Whatever is asked, and never of the future."""
    end = NOW - timedelta(hours=hours_ago)
    window = Window(end - timedelta(hours=hours), end)
    asked = spans(window, now=NOW)
    assert asked[0].start <= window.start
    assert min(NOW, window.end + timedelta(hours=1)) <= asked[-1].end <= NOW
    assert all(timedelta(days=2) <= it.end - it.start <= timedelta(days=90) for it in asked)
    assert all(later.start <= earlier.end for earlier, later in pairwise(asked))


def test_history_beyond_the_plan_names_the_limit_and_the_day(coingecko):
    """No retry helps: the text says which day and which limit."""
    with pytest.raises(ContractError) as caught:
        coingecko.fetch_bars("BTC-USD", Window.of_days(date(2024, 1, 5), date(2024, 1, 8)))
    assert "history from 2024-01-05" in str(caught.value)
    assert "365" in str(caught.value)


def test_first_day_can_be_asked_for(coingecko):
    """The day that a market claims as its first is inside the limit."""
    first_day = coingecko.fetch_markets(["BTC-USD"])[0].first_day
    assert len(coingecko.fetch_bars("BTC-USD", Window.of_days(first_day, first_day))) == 24


def test_quotes_are_in_base_units_and_ratios(coingecko):
    """Volume comes in dollars, the change in per cent, the time nine seconds ahead of our clock."""
    quote = coingecko.fetch_quotes(["BTC-USD"])[0]
    assert (quote.price, quote.volume_24h, quote.change_24h_ratio) == (100.0, 50.0, -0.015)
    assert quote.as_of == NOW


def test_unknown_volume_and_change_are_none(httpserver, source):
    """CoinGecko says null for coins that hardly trade."""
    fields = {"usd": 2.0, "usd_24h_vol": None, "last_updated_at": 1_750_000_000}
    httpserver.expect_request("/v3/simple/price").respond_with_json({"bitcoin": fields})
    quote = CoinGeckoProvider(source("coingecko", path="/v3", explain=explain)).fetch_quotes(["BTC-USD"])[0]
    assert (quote.volume_24h, quote.change_24h_ratio) == (None, None)
    assert quote.as_of == datetime.fromtimestamp(1_750_000_000, tz=UTC)


@pytest.mark.parametrize("price", [None, 0, -1, 1e300])
def test_a_quote_without_a_price_is_a_broken_contract(httpserver, source, price):
    """It names the coin and the field."""
    fields = {"usd": price, "last_updated_at": 1_750_000_000}
    httpserver.expect_request("/v3/simple/price").respond_with_json({"bitcoin": fields})
    with pytest.raises(ContractError, match=r"bitcoin\.usd"):
        CoinGeckoProvider(source("coingecko", path="/v3", explain=explain)).fetch_quotes(["BTC-USD"])


def test_any_coin_can_be_named_by_its_id(coingecko, httpserver):
    """`id:currency` reaches what the table does not hold; the settings write it in upper case."""
    market = coingecko.fetch_markets(["BITCOIN:USD"])[0]
    assert (market.symbol, market.name, market.quote_asset) == ("BITCOIN:USD", "Bitcoin", "USD")
    with pytest.raises(UnknownSymbolError):
        coingecko.fetch_markets(["NO-SUCH-COIN:USD"])
    with pytest.raises(UnknownSymbolError, match="NO-SUCH-COIN:USD"):
        coingecko.fetch_bars("NO-SUCH-COIN:USD", TestCoinGeckoProvider.window)


@pytest.mark.parametrize("symbol", ["../ping:USD", "a/b:USD", "BTC-USD?x=1", "", "-", "BTC", "%2e%2e:usd"])
def test_symbols_cannot_change_the_path(coingecko, httpserver, symbol):
    """What is no symbol never reaches the source."""
    with pytest.raises(UnknownSymbolError):
        coingecko.fetch_bars(symbol, TestCoinGeckoProvider.window)
    assert not httpserver.log


def test_a_limit_hidden_in_a_good_answer_is_seen(httpserver, source):
    """Some proxies answer 200 with the 429 inside."""
    httpserver.expect_request("/v3/simple/price").respond_with_json(
        {"status": {"error_code": 429, "error_message": ""}}
    )
    with pytest.raises(RateLimitedError):
        CoinGeckoProvider(source("coingecko", path="/v3", explain=explain)).fetch_quotes(["BTC-USD"])
    assert len(httpserver.log) == 3


@pytest.mark.parametrize("code", [10002, 10005, 10010, 10011])
def test_a_key_of_the_other_api_is_a_setting_to_change(httpserver, source, code):
    """Demo keys and paid keys have different hosts."""
    body = {"status": {"error_code": code, "error_message": f"wrong key {KEY}"}}
    httpserver.expect_request("/v3/simple/price").respond_with_json(body, status=400)
    with pytest.raises(ConfigurationError, match="COINGECKO_API_KEY") as caught:
        CoinGeckoProvider(source("coingecko", path="/v3", explain=explain)).fetch_quotes(["BTC-USD"])
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"prices": None},
        {"prices": [[1, 2, 3]]},
        {"prices": [["x", 1]]},
        {"prices": [[10**30, 1.0]]},
        {"price": []},
        "text",
        None,
    ],
)
def test_other_shapes_are_broken_contracts(httpserver, source, body):
    """Never a KeyError or an overflow."""
    httpserver.expect_request(CHART).respond_with_json(body)
    with pytest.raises(ContractError):
        CoinGeckoProvider(source("coingecko", path="/v3")).fetch_bars("BTC-USD", TestCoinGeckoProvider.window)


def made(httpserver, key=KEY):
    settings = Settings.from_environment({"COINGECKO_URL": httpserver.url_for("/v3"), "COINGECKO_API_KEY": key})
    return coingecko_provider(settings, breaker=InProcessBreaker())


@pytest.mark.parametrize("status", [200, 401, 404, 500, 502])
def test_the_key_reaches_the_source_and_nothing_else(httpserver, caplog, status):
    """It is sent as a header, and stays out of errors and logs, even when it is sent back."""
    httpserver.expect_request(CHART, headers={"x-cg-demo-api-key": KEY}).respond_with_response(
        Response(f"<p>{KEY}</p>", status)
    )
    with caplog.at_level(logging.INFO), pytest.raises(IngestionError) as caught:
        made(httpserver).fetch_bars("BTC-USD", TestCoinGeckoProvider.window)
    request = httpserver.log[0][0]
    assert request.headers["x-cg-demo-api-key"] == KEY
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name != "werkzeug")
    assert KEY not in "".join(traceback.format_exception(caught.value)) + ours + request.url


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_a_setting_to_change(httpserver, key):
    """Found at once, and not quoted."""
    with pytest.raises(ConfigurationError, match="COINGECKO_API_KEY") as caught:
        made(httpserver, key)
    assert key not in str(caught.value)


def test_unsorted_and_repeated_points_do_no_harm():
    """Chunks overlap by a point, and nothing promises their order."""
    hour = 3_600_000
    points = [(2 * hour, 3.0), (0, 1.0), (hour, 2.0), (hour, 2.0)]
    bars = hourly_bars(points, [])
    assert pd.Series(bars.start_us).is_monotonic_increasing
    assert bars.prices[0].tolist() == [1.0, 2.0]


def test_no_points_are_no_bars():
    """A coin without history in the window."""
    assert len(hourly_bars([], []).start_us) == 0
