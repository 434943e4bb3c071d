"""Binance, against a loopback server that answers the documented shapes."""

from datetime import UTC, date, datetime, timedelta

import pytest
from provider_fakes import NOW, FakeBinance, InProcessBreaker, price_at
from provider_suite import ProviderSuite
from werkzeug import Response

from ingestion_pipeline.core.errors import ContractError, RateLimitedError, UnknownSymbolError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.binance import BinanceProvider, binance_provider, explain, pause_seconds
from ingestion_pipeline.settings import Settings


@pytest.fixture
def fake():
    return FakeBinance()


@pytest.fixture
def binance(httpserver, source, fake):
    httpserver.expect_request("/api/v3/klines").respond_with_handler(fake.klines)
    httpserver.expect_request("/api/v3/ticker/24hr").respond_with_handler(fake.tickers)
    return BinanceProvider(source("binance", explain=explain, pause_seconds=pause_seconds))


class TestBinanceProvider(ProviderSuite):
    symbols = ("ETH-USD", "BTC-USDT")
    window = Window.of_days(date(2025, 6, 10), date(2025, 6, 14))
    quiet_window = Window.of_days(date(2024, 7, 1), date(2024, 7, 3))
    unknown = "BTC-UDS"
    nearest = "BTC-USD"

    @pytest.fixture
    def provider(self, binance):
        return binance


def test_long_windows_are_paged(binance, fake):
    """Five days are 1440 bars: two pages, no bar twice, none lost."""
    bars = binance.fetch_bars("BTC-USD", TestBinanceProvider.window)
    assert len(bars) == 5 * 288
    assert bars["bar_start_at"].is_monotonic_increasing
    assert not bars["bar_start_at"].duplicated().any()
    assert [int(it["startTime"]) for it in fake.requests] == [
        int(TestBinanceProvider.window.start.timestamp() * 1000) + page * 300_000_000 for page in range(2)
    ]


def test_a_page_that_is_just_full_is_followed_by_one_more(binance, fake):
    """1000 bars may or may not be the end: the next page tells."""
    start = datetime(2025, 6, 10, tzinfo=UTC)
    assert len(binance.fetch_bars("BTC-USD", Window(start, start + timedelta(minutes=5 * 1001)))) == 1001
    assert len(fake.requests) == 2


def test_numbers_come_as_text_and_leave_as_floats(binance):
    """Exactly the prices of the source; volume in the base asset."""
    first = binance.fetch_bars("BTC-USD", TestBinanceProvider.window).iloc[0]
    start = int(TestBinanceProvider.window.start.timestamp() * 1000)
    assert (first["open"], first["close"]) == (price_at(start), price_at(start + 300_000))
    assert first["volume"] == 12.5
    assert first["interval_seconds"] == 300


def test_the_last_candle_is_dropped_while_it_is_open(binance):
    """At 15:02:30 the candle of 15:00 is still being traded."""
    bars = binance.fetch_bars("BTC-USD", Window(NOW - timedelta(hours=1), NOW + timedelta(hours=1)))
    assert bars["bar_start_at"].max() == datetime(2025, 6, 18, 14, 55, tzinfo=UTC)


def test_dollars_mean_tether(binance, fake):
    """BTC-USD is asked for as BTCUSDT, and its market says what it is."""
    market = binance.fetch_markets(["BTC-USD"])[0]
    assert (market.name, market.base_asset, market.quote_asset) == ("BTCUSDT on Binance", "BTC", "USD")
    assert market.first_day == date(2025, 1, 1)


def test_quotes_are_ratios_in_the_order_asked(binance):
    """The fake answers in the opposite order, and its clock is four milliseconds ahead."""
    first, second = binance.fetch_quotes(["ETH-USD", "BTC-USD"])
    assert (first.symbol, second.symbol) == ("ETH-USD", "BTC-USD")
    assert (first.price, first.change_24h_ratio, first.volume_24h, first.as_of) == (101.5, -0.025, 1234.5, NOW)


def test_two_names_of_one_pair_are_quoted_both(binance):
    """BTC-USD and BTC-USDT are the same pair there."""
    assert [it.symbol for it in binance.fetch_quotes(["BTC-USD", "BTC-USDT"])] == ["BTC-USD", "BTC-USDT"]


def test_used_weight_makes_us_quiet_until_the_minute_is_over(binance, fake):
    """At nine tenths of the budget nothing more is asked for thirty seconds."""
    fake.used_weight = 5_400
    window = Window.of_days(date(2025, 6, 10), date(2025, 6, 10))
    binance.fetch_bars("BTC-USD", window)
    binance._source._max_wait_seconds = 5.0
    with pytest.raises(RateLimitedError) as caught:
        binance.fetch_bars("BTC-USD", window)
    assert 20 < caught.value.retry_after_seconds <= 30
    assert len(fake.requests) == 1


@pytest.mark.parametrize(("status", "body"), [(429, "{}"), (418, "{}"), (400, '{"code": -1003, "msg": "Too many"}')])
def test_limits_are_told_apart_from_errors(httpserver, source, status, body):
    """Banned, limited, and the code that says the same."""
    headers = {"Retry-After": "120"}
    httpserver.expect_request("/api/v3/klines").respond_with_response(Response(body, status, headers))
    with pytest.raises(RateLimitedError):
        BinanceProvider(source("binance", explain=explain)).fetch_bars("BTC-USD", TestBinanceProvider.window)


ROW = [1, "1", "1", "1", "1", "1", 2, "1", 1, "1", "1", "0"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"code": -9999, "msg": "new"},
        [[1, "1"]],
        [[*ROW[:1], "one", *ROW[2:]]],
        [[*ROW[:1], "NaN", *ROW[2:]]],
        [[10**30, *ROW[1:]]],
        [ROW] * 1000,
    ],
)
def test_other_shapes_are_broken_contracts(httpserver, source, body):
    """A page that does not move on would be asked for for ever."""
    httpserver.expect_request("/api/v3/klines").respond_with_json(body)
    with pytest.raises(ContractError):
        BinanceProvider(source("binance", explain=explain)).fetch_bars("BTC-USD", TestBinanceProvider.window)


@pytest.mark.parametrize("price", ["0.0", "-1", "inf"])
def test_a_quote_without_a_price_is_a_broken_contract(httpserver, source, price):
    """A halted pair has no last price."""
    body = [{"symbol": "BTCUSDT", "lastPrice": price, "closeTime": 1}]
    httpserver.expect_request("/api/v3/ticker/24hr").respond_with_json(body)
    with pytest.raises(ContractError, match="lastPrice"):
        BinanceProvider(source("binance", explain=explain)).fetch_quotes(["BTC-USD"])


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btc-usd", "BTC-USD&limit=1", "", "../x-USD", "A" * 30 + "-USD"])
def test_what_is_no_symbol_never_reaches_the_source(binance, fake, symbol):
    """The nearest names are offered instead."""
    with pytest.raises(UnknownSymbolError):
        binance.fetch_bars(symbol, TestBinanceProvider.window)
    assert not fake.requests


def test_it_is_made_from_the_settings(httpserver, fake):
    """The URL of the settings is the one that is asked."""
    httpserver.expect_request("/api/v3/klines").respond_with_handler(fake.klines)
    settings = Settings.from_environment({"BINANCE_URL": httpserver.url_for("")})
    made = binance_provider(settings, breaker=InProcessBreaker())
    assert len(made.fetch_bars("BTC-USD", Window.of_days(date(2025, 6, 10), date(2025, 6, 10)))) == 288
