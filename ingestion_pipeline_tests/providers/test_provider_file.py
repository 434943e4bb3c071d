"""The file provider on the real bars in data/market, and on small files made here."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from provider_suite import ProviderSuite

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers import file_index
from ingestion_pipeline.providers.file import FileProvider
from ingestion_pipeline.providers.file_index import Shelf

MARKET = Path(__file__).parents[1] / "data" / "market"
HEADER = "symbol,ts,open,high,low,close,volume\n"


class TestFileProvider(ProviderSuite):
    symbols = ("ETH-BTC", "LTC-BTC")
    window = Window.of_days(date(2018, 1, 10), date(2018, 1, 14))
    quiet_window = Window.of_days(date(2018, 2, 1), date(2018, 2, 3))
    unknown = "ETH-BCT"
    nearest = "ETH-BTC"

    @pytest.fixture
    def provider(self):
        return FileProvider(MARKET, shelf=Shelf())


class TestFileProviderOfDailyBars(TestFileProvider):
    symbols = ("SP500", "NASDAQ")
    window = Window.of_days(date(2018, 12, 17), date(2018, 12, 31))
    quiet_window = Window.of_days(date(2018, 12, 25), date(2018, 12, 25))
    unknown = "NASDAX"
    nearest = "NASDAQ"


class TestFileProviderOfParquet(TestFileProvider):
    @pytest.fixture
    def provider(self, tmp_path):
        for path in MARKET.glob("bars_5m_*.csv.gz"):
            frame = pd.read_csv(path, parse_dates=["ts"])
            frame.to_parquet(tmp_path / path.name.replace(".csv.gz", ".parquet"))
        return FileProvider(tmp_path, shelf=Shelf())


def folder_of(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return FileProvider(tmp_path, shelf=Shelf())


def rows(symbol, starts, price=10.0):
    return "".join(f"{symbol},{start},{price},{price},{price},{price},1\n" for start in starts)


DAYS = Window.of_days(date(2020, 1, 1), date(2020, 12, 31))


@pytest.mark.parametrize(
    ("symbol", "bars", "seconds", "first_day", "has_adj_close"),
    [
        ("SP500", 5031, 86_400, date(1999, 1, 4), True),
        ("NASDAQ", 5031, 86_400, date(1999, 1, 4), True),
        ("AAPL", 3270, 86_400, date(2000, 3, 1), True),
        ("IBM", 3270, 86_400, date(2000, 3, 1), True),
        ("ETH-BTC", 5760, 300, date(2018, 1, 10), False),
        ("XRP-USDT", 1999, 300, date(2021, 11, 15), False),
    ],
)
def test_real_files_are_read_whole(symbol, bars, seconds, first_day, has_adj_close):
    """Every row, whatever the order of the columns and the form of the time."""
    provider = FileProvider(MARKET)
    frame = provider.fetch_bars(symbol, Window.of_days(date(1990, 1, 1), date(2024, 12, 31)))
    assert len(frame) == bars
    assert set(frame["interval_seconds"]) == {seconds}
    assert frame["adj_close"].notna().all() == has_adj_close
    assert provider.fetch_markets([symbol])[0].first_day == first_day


def test_real_values_are_those_of_the_file():
    """Column order differs between the files: values must not."""
    apple = FileProvider(MARKET).fetch_bars("AAPL", Window.of_days(date(2000, 3, 1), date(2000, 3, 1))).iloc[0]
    assert apple[["open", "high", "low", "close", "adj_close", "volume"]].tolist() == [
        118.56, 132.06, 118.5, 130.31, 4.186662803811, 9616100.0,
    ]  # fmt: skip
    index = FileProvider(MARKET).fetch_bars("SP500", Window.of_days(date(1999, 1, 4), date(1999, 1, 4))).iloc[0]
    assert index[["close", "adj_close", "volume"]].tolist() == [1228.099976, 1228.099976, 877000000.0]


@pytest.mark.parametrize(
    ("symbol", "kind", "calendar", "assets"),
    [
        ("ETH-BTC", "crypto", "24/7", ("ETH", "BTC")),
        ("XRP-USDT", "crypto", "24/7", ("XRP", "USDT")),
        ("SP500", "index", "XNYS", ("SP500", "USD")),
        ("MSFT", "equity", "XNYS", ("MSFT", "USD")),
    ],
)
def test_the_symbol_tells_what_it_is(symbol, kind, calendar, assets):
    """Files say nothing but the symbol."""
    market = FileProvider(MARKET).fetch_markets([symbol])[0]
    assert (market.asset_class, market.calendar, (market.base_asset, market.quote_asset)) == (kind, calendar, assets)


def test_coverage_is_split_where_a_month_is_missing():
    """What the demo materializes: the spans that hold data."""
    provider = FileProvider(MARKET)
    assert provider.coverage(["ETH-BTC", "XRP-USDT"]) == [
        Window.of_days(date(2018, 1, 10), date(2018, 1, 30)),
        Window.of_days(date(2021, 11, 15), date(2021, 11, 21)),
    ]
    assert provider.coverage(["SP500", "AAPL"]) == [Window.of_days(date(1999, 1, 4), date(2018, 12, 31))]
    assert provider.coverage([]) == []


@pytest.mark.parametrize(("gap", "spans"), [(31, 1), (32, 2)])
def test_coverage_bridges_a_month(tmp_path, gap, spans):
    """A gap of 31 days is bridged, one of 32 is not."""
    days = [date(2020, 1, 1), date.fromordinal(date(2020, 1, 1).toordinal() + gap)]
    provider = folder_of(tmp_path, bars_1d_x=HEADER + rows("X", days))
    assert len(provider.coverage(["X"])) == spans


def test_a_quote_is_the_last_bar_before_now(monkeypatch):
    """Change and volume over the 24 hours before it."""
    monkeypatch.setattr(clock, "utc_now", lambda: datetime(2018, 1, 20, 12, 3, tzinfo=UTC))
    quote = FileProvider(MARKET).fetch_quotes(["ETH-BTC"])[0]
    bars = FileProvider(MARKET).fetch_bars("ETH-BTC", Window.of_days(date(2018, 1, 19), date(2018, 1, 20)))
    assert quote.as_of == datetime(2018, 1, 20, 12, 0, tzinfo=UTC)
    assert quote.price == bars["close"].iloc[-1]
    day = bars[bars["bar_start_at"] >= pd.Timestamp("2018-01-19 12:00Z")]
    assert quote.volume_24h == pytest.approx(day["volume"].sum())


def test_daily_bars_change_against_the_day_before():
    """31 December against 28 December 2018: a weekend lies between."""
    quote = FileProvider(MARKET).fetch_quotes(["SP500"])[0]
    bars = FileProvider(MARKET).fetch_bars("SP500", Window.of_days(date(2018, 12, 28), date(2018, 12, 31)))
    assert quote.as_of == datetime(2019, 1, 1, tzinfo=UTC)
    assert quote.change_24h_ratio == pytest.approx(bars["close"].iloc[-1] / bars["close"].iloc[0] - 1)


@pytest.mark.parametrize(("name", "seconds"), [("bars_5m_x", 300), ("bars_15m_x", 900)])
def test_the_finest_interval_of_a_day_wins_that_day(tmp_path, name, seconds):
    """Days with fine bars have those only, the others keep their daily bar; whichever file is read first."""
    fine = [f"2020-01-02T00:{minute:02d}:00Z" for minute in (0, 15, 30)]
    daily = HEADER + rows("X", ["2020-01-01", "2020-01-02", "2020-01-03"])
    provider = folder_of(tmp_path, bars_1d_x=daily, **{name: HEADER + rows("X", fine)})
    intervals = provider.fetch_bars("X", DAYS)["interval_seconds"].sort_values().tolist()
    assert intervals == [seconds] * 3 + [86_400] * 2
    noon = datetime(2020, 1, 2, 12, tzinfo=UTC)
    assert provider.fetch_bars("X", Window(noon, noon.replace(hour=18))).empty
    midnight = Window(datetime(2020, 1, 2, tzinfo=UTC), datetime(2020, 1, 2, 0, 1, tzinfo=UTC))
    assert provider.fetch_bars("X", midnight)["interval_seconds"].tolist() == [seconds]


@pytest.mark.parametrize(
    ("starts", "seconds"),
    [
        (["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-06"], 86_400),
        (["2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z", "2020-01-01T02:00:00Z"], 3_600),
    ],
)
def test_interval_is_inferred_where_the_name_is_silent(tmp_path, starts, seconds):
    """The most frequent distance; weekends do not count."""
    provider = folder_of(tmp_path, prices=HEADER + rows("X", starts))
    assert set(provider.fetch_bars("X", DAYS)["interval_seconds"]) == {seconds}


@pytest.mark.parametrize(
    "ts", ["2020-03-01T10:00:00Z", "2020-03-01T12:00:00+02:00", "2020-03-01 10:00:00", "2020-03-01T10:00:00.000Z"]
)
def test_forms_of_an_instant(tmp_path, ts):
    """All of them are ten o'clock UTC."""
    provider = folder_of(tmp_path, bars_1h_x=HEADER + rows("X", [ts]))
    assert provider.fetch_bars("X", DAYS)["bar_start_at"].tolist() == [pd.Timestamp("2020-03-01T10:00Z")]


def test_header_is_read_with_a_mark_quotes_and_capitals(tmp_path):
    """As spreadsheets write it, with Windows line ends and a column that we do not know."""
    text = '\ufeff"TS",Symbol, OPEN ,high,low,close,volume,comment\r\n2020-03-01,x,1,2,0.5,1.5,9,"a, b"\r\n'
    (tmp_path / "bars_1d_x.csv").write_bytes(text.encode())
    bar = FileProvider(tmp_path, shelf=Shelf()).fetch_bars("X", DAYS).iloc[0]
    assert bar[["open", "high", "low", "close", "volume"]].tolist() == [1.0, 2.0, 0.5, 1.5, 9.0]


def test_numbers_that_cannot_be_read_become_nan(tmp_path):
    """The row stays: the market domain rejects it with its reason."""
    provider = folder_of(
        tmp_path, bars_1d_x=HEADER + "X,2020-01-01,1,2,abc,1,\nX,2020-01-02, 1.5 ,2,1e0,1,7\nX,2020-01-03,1,inf,1,1,1\n"
    )
    bars = provider.fetch_bars("X", DAYS)
    assert bars["low"].isna().tolist() == [True, False, False]
    assert bars["volume"].isna().tolist() == [True, False, False]
    assert bars["open"].tolist() == [1.0, 1.5, 1.0]
    assert np.isinf(bars["high"].iloc[2])


def test_duplicates_are_returned_as_they_are(tmp_path):
    """Which of two rows is right is not the provider's to judge."""
    provider = folder_of(tmp_path, bars_1d_x=HEADER + rows("X", ["2020-01-01"]) + rows("X", ["2020-01-01"], 11.0))
    assert provider.fetch_bars("X", DAYS)["close"].tolist() == [10.0, 11.0]


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    """A backfill of a year does not parse the folder 365 times."""
    read = []
    original = file_index.read_symbols
    monkeypatch.setattr(file_index, "read_symbols", lambda *a: read.append(a[0].name) or original(*a))
    provider = folder_of(
        tmp_path, bars_1d_x=HEADER + rows("X", ["2020-01-01"]), bars_1d_y=HEADER + rows("Y", ["2020-01-01"])
    )
    for window in DAYS.split(days=30):
        provider.fetch_bars("X", window)
        provider.fetch_bars("Y", window)
    assert sorted(read) == ["bars_1d_x.csv", "bars_1d_y.csv"]
    (tmp_path / "bars_1d_x.csv").write_text(HEADER + rows("X", ["2020-01-01", "2020-01-02"]))
    assert len(provider.fetch_bars("X", DAYS)) == 2
    assert read.count("bars_1d_y.csv") == 1


def test_what_does_not_fit_the_budget_is_read_again(tmp_path):
    """A small budget costs time, never rows."""
    files = {f"bars_1d_{name}": HEADER + rows(name, ["2020-01-01", "2020-01-02"]) for name in "ABC"}
    folder_of(tmp_path, **files)
    shelf = Shelf(budget_bytes=1)
    provider = FileProvider(tmp_path, shelf=shelf)
    for symbol in "ABCABC":
        assert len(provider.fetch_bars(symbol, DAYS)) == 2
    assert len(shelf._bars) == 1


def test_a_bar_of_the_future_is_not_returned(tmp_path):
    """Today's daily bar is unfinished, and so no quote either."""
    provider = folder_of(tmp_path, bars_1d_x=HEADER + rows("X", ["2025-06-17", "2025-06-18", "2026-01-01"]))
    bars = provider.fetch_bars("X", Window.of_days(date(2025, 1, 1), date(2026, 12, 31)))
    assert bars["bar_start_at"].tolist() == [pd.Timestamp("2025-06-17", tz="UTC")]
    assert provider.fetch_quotes(["X"])[0].as_of == datetime(2025, 6, 18, tzinfo=UTC)
