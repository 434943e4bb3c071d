"""ROI statistics: small cases by hand, real prices against empyrical-reloaded, laws, a naive reference."""

import math
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.market.statistics import METHOD_VERSION, roi_statistics
from ingestion_pipeline.domains.market.tables import ROI_STATISTICS

BARS = Path(__file__).parents[2] / "data" / "market"
MARKETS = pd.DataFrame({"symbol": ["A", "B", "C", "D"], "periods_per_year": [365, 365, 252, 252]})
FIRST = date(2024, 1, 1)
RATIOS = [column.name for column in ROI_STATISTICS.columns if column.type == "float" and column.nullable]


def make_closes(prices, *, symbol="A", first=FIRST, adjusted=None):
    """One close a day; None leaves the day out."""
    rows = [
        {"symbol": symbol, "day": first + timedelta(days=index), "close": price, "adj_close": None, "volume": 1.0}
        for index, price in enumerate(prices)
    ]
    frame = pd.DataFrame(rows).astype({"adj_close": "float64", "close": "float64"})
    if adjusted is not None:
        frame["adj_close"] = np.array(adjusted, dtype=float)
    return frame[frame["close"].notna()].reset_index(drop=True)


def statistics_of(prices, *, window_days=7, offset=None, rate=0.0, **over):
    """The row as of the last day of `prices`, or None."""
    as_of = FIRST + timedelta(days=len(prices) - 1 if offset is None else offset)
    closes = make_closes(prices, **over)
    rows = roi_statistics(closes, MARKETS, as_of_days=[as_of], risk_free_rate=rate, windows=[window_days])
    return rows.iloc[0] if len(rows) else None


def test_columns_are_those_of_the_table_in_its_order():
    """The frame can be written as it is, also when it has no rows."""
    full = roi_statistics(make_closes([1, 2, 3]), MARKETS, as_of_days=[date(2024, 1, 3)], risk_free_rate=0, windows=[2])
    none = roi_statistics(make_closes([1, 2, 3]), MARKETS, as_of_days=[], risk_free_rate=0)
    assert list(ROI_STATISTICS.column_names) == list(full.columns) == list(none.columns)
    assert dict(full.dtypes) == dict(none.dtypes)


def test_every_column_by_hand():
    """100 → 110 → 99 → 99 → 120 over four days, risk-free 0."""
    row = statistics_of([100, 110, 99, 99, 120], window_days=4)
    returns = [0.1, -0.1, 0.0, 120 / 99 - 1]
    mean = sum(returns) / 4
    deviation = math.sqrt(sum((value - mean) ** 2 for value in returns) / 3)
    downside = math.sqrt(0.1**2 / 4)
    expected = {
        "total_return_ratio": 0.2,
        "annualised_return_ratio": 1.2 ** (365.25 / 4) - 1,
        "volatility_ratio": deviation * math.sqrt(365),
        "sharpe_ratio": mean / deviation * math.sqrt(365),
        "sortino_ratio": mean / downside * math.sqrt(365),
        "max_drawdown_ratio": -0.1,
        "calmar_ratio": (1.2 ** (365.25 / 4) - 1) / 0.1,
        "best_day_ratio": 120 / 99 - 1,
        "worst_day_ratio": -0.1,
    }
    assert expected == pytest.approx({name: row[name] for name in expected}, rel=1e-12)
    assert (pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-03")) == (
        row["max_drawdown_peak_date"],
        row["max_drawdown_trough_date"],
    )
    assert (pd.Timestamp("2024-01-05"), "A", 4, 4, 365, 0.0, METHOD_VERSION) == (
        row["as_of_date"],
        row["symbol"],
        row["window_days"],
        row["return_count"],
        row["periods_per_year"],
        row["risk_free_rate_ratio"],
        row["method_version"],
    )


def test_risk_free_rate_is_compounded_to_a_day_and_lowers_both_ratios():
    """The daily rate is (1 + annual) ** (1 / periods) - 1; empyrical takes it as `risk_free`."""
    prices = [100, 110, 99, 99, 120]
    row = statistics_of(prices, window_days=4, rate=0.5)
    returns, daily = pd.Series(prices).pct_change().dropna(), 1.5 ** (1 / 365) - 1
    assert row["sharpe_ratio"] == pytest.approx(empyrical.sharpe_ratio(returns, daily, annualization=365), rel=1e-12)
    assert row["sortino_ratio"] == pytest.approx(empyrical.sortino_ratio(returns, daily, annualization=365), rel=1e-12)
    assert row["risk_free_rate_ratio"] == 0.5


def test_window_excludes_its_start_and_includes_the_as_of_day():
    """The close at the start is the base price; its own return is outside; later closes are unknown."""
    row = statistics_of([50, 100, 110, 121, 500], window_days=2, offset=3)
    assert (2, pytest.approx(0.21)) == (row["return_count"], row["total_return_ratio"])


@pytest.mark.parametrize(("age", "is_known"), [(0, True), (7, True), (8, False)])
def test_base_price_is_at_most_seven_days_older_than_the_window(age, is_known):
    """A long weekend is bridged, a delisting is not."""
    row = statistics_of([100, *[None] * age, 110, 121], window_days=2, offset=age + 2)
    assert row["return_count"] == (2 if is_known else 1)
    assert row["total_return_ratio"] == pytest.approx(0.21) if is_known else math.isnan(row["total_return_ratio"])


def test_too_little_history_counts_returns_and_leaves_statistics_null():
    """Two days of a new market are not a week."""
    row = statistics_of([100, 110, 120], window_days=7)
    assert row["return_count"] == 2
    assert row[[*RATIOS, "max_drawdown_peak_date", "max_drawdown_trough_date"]].isna().all()


def test_symbol_without_return_in_the_window_has_no_row():
    """Neither one first close, nor closes that ended before the window."""
    assert statistics_of([100], window_days=7) is None
    assert statistics_of([100, 110], window_days=3, offset=9) is None
    assert statistics_of([100, 110], window_days=3, offset=900) is None


def test_constant_prices_have_no_volatility_and_undefined_ratios():
    """Zero, not the dust of rounding; dividing by it is NULL."""
    row = statistics_of([0.1] * 8)
    zero = ["total_return_ratio", "annualised_return_ratio", "volatility_ratio", "max_drawdown_ratio", "best_day_ratio"]
    assert row[zero].to_list() == [0.0] * 5
    assert row[["sharpe_ratio", "sortino_ratio", "calmar_ratio", "max_drawdown_peak_date"]].isna().all()


def test_constant_growth_has_volatility_of_exactly_zero():
    """1.1 ** n differs from step to step in the last bit only."""
    row = statistics_of([0.3 * 1.1**power for power in range(8)])
    assert row["volatility_ratio"] == 0
    assert row[["sharpe_ratio", "sortino_ratio", "calmar_ratio"]].isna().all()


def test_one_return_has_no_dispersion():
    """Total return and extremes are known, sample deviation is not."""
    row = statistics_of([100, 90], window_days=1)
    assert (1, pytest.approx(-0.1), pytest.approx(-0.1)) == (
        row["return_count"],
        row["total_return_ratio"],
        row["max_drawdown_ratio"],
    )
    assert row[["volatility_ratio", "sharpe_ratio", "sortino_ratio"]].isna().all()


def test_growth_too_large_for_a_float_is_null():
    """Annualising one fantastic week overflows: never infinite."""
    row = statistics_of([1e-3, *[1e5] * 7])
    assert row["total_return_ratio"] == pytest.approx(1e8)
    assert math.isnan(row["annualised_return_ratio"])


def test_of_equal_drawdowns_the_first_counts():
    """Also where rounding makes the later one a bit deeper."""
    row = statistics_of([0.9, 0.30000000000000004, 2.7, 0.9, 2.7], window_days=4)
    assert (pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")) == (
        row["max_drawdown_peak_date"],
        row["max_drawdown_trough_date"],
    )


def test_peak_before_the_window_is_dated_by_its_close():
    """The base price of a Monday window is Friday's."""
    row = statistics_of([100, None, None, 90, 80], window_days=2)
    assert row["max_drawdown_peak_date"] == pd.Timestamp("2024-01-01")
    assert row["annualised_return_ratio"] == pytest.approx(0.8 ** (365.25 / 4) - 1)


def test_adjusted_closes_are_used_only_where_the_whole_window_has_them():
    """A series never jumps from one kind of price to the other."""
    prices, adjusted = [100, 100, 50, 50, 50], [None, 50, 50, 50, 60]
    assert statistics_of(prices, window_days=3, adjusted=adjusted)["total_return_ratio"] == pytest.approx(0.2)
    assert statistics_of(prices, window_days=4, adjusted=adjusted)["total_return_ratio"] == pytest.approx(-0.5)


def test_unusable_prices_are_no_closes():
    """Upstream rejects them; here they only must not break the rest."""
    row = statistics_of([100, 0.0, -5, np.inf, 110], window_days=4)
    assert (1, pytest.approx(0.1)) == (row["return_count"], row["total_return_ratio"])


def test_repeated_rows_are_named():
    """Two closes of one day cannot both be right."""
    closes = pd.concat([make_closes([1, 2, 3]), make_closes([1, 2, 3])[1:2]])
    with pytest.raises(ValueError, match="A 2024-01-02"):
        roi_statistics(closes, MARKETS, as_of_days=[date(2024, 1, 3)], risk_free_rate=0)


def test_unknown_market_and_window_are_refused():
    """Nothing is annualised by guess."""
    closes = make_closes([1, 2], symbol="Z")
    with pytest.raises(ValueError, match="markets lacks Z"):
        roi_statistics(closes, MARKETS, as_of_days=[date(2024, 1, 2)], risk_free_rate=0)
    with pytest.raises(ValueError, match="windows"):
        roi_statistics(closes, MARKETS, as_of_days=[date(2024, 1, 2)], risk_free_rate=0, windows=[0])


@pytest.mark.parametrize("kind", ["date", "datetime64", "date32", "category"])
def test_types_of_day_and_symbol_do_not_matter(kind):
    """The lake and PostgreSQL hand over different ones."""
    closes = make_closes([1, 2, 3, 4])
    expected = roi_statistics(closes, MARKETS, as_of_days=[date(2024, 1, 4)], risk_free_rate=0, windows=[2])
    if kind == "datetime64":
        closes["day"] = pd.to_datetime(closes["day"])
    elif kind == "date32":
        closes["day"] = closes["day"].astype("date32[day][pyarrow]")
        closes["adj_close"] = closes["adj_close"].astype("double[pyarrow]")
    elif kind == "category":
        closes["symbol"] = closes["symbol"].astype("category")
    found = roi_statistics(closes, MARKETS, as_of_days=[date(2024, 1, 4)], risk_free_rate=0, windows=[2])
    pd.testing.assert_frame_equal(expected, found)


# --- real prices ---------------------------------------------------------------------------------------------------


def real_closes():
    frames = [pd.read_csv(BARS / f"bars_1d_{name}.csv.gz", parse_dates=["ts"]) for name in ("equities", "sp500")]
    return pd.concat(frames).rename(columns={"ts": "day"})[["symbol", "day", "close", "adj_close", "volume"]]


@pytest.fixture(scope="module")
def real():
    closes = real_closes()
    as_of_days = [date(2001, 9, 21), date(2004, 5, 31), date(2008, 10, 12), date(2009, 3, 9), date(2013, 3, 1)]
    markets = pd.DataFrame({"symbol": ["AAPL", "IBM", "MSFT", "SP500"], "periods_per_year": 252})
    return closes, roi_statistics(closes, markets, as_of_days=as_of_days, risk_free_rate=0)


def test_real_prices_equal_empyrical(real):
    """AAPL, IBM, MSFT and SP500, five days (two of them without a session), all windows, within 1e-9."""
    closes, rows = real
    assert len(rows) == 5 * 4 * 4
    for row in rows.itertuples():
        prices = closes[closes["symbol"] == row.symbol].set_index("day")["adj_close"].sort_index()[: row.as_of_date]
        returns = prices.pct_change()[prices.index > row.as_of_date - pd.Timedelta(days=row.window_days)]
        expected = {
            "return_count": len(returns),
            "total_return_ratio": empyrical.cum_returns_final(returns),
            "volatility_ratio": empyrical.annual_volatility(returns),
            "sharpe_ratio": empyrical.sharpe_ratio(returns),
            "sortino_ratio": empyrical.sortino_ratio(returns),
            "max_drawdown_ratio": empyrical.max_drawdown(returns),
            "best_day_ratio": returns.max(),
            "worst_day_ratio": returns.min(),
        }
        expected = {name: math.nan if math.isinf(value) else value for name, value in expected.items()}
        found = {name: getattr(row, name) for name in expected}
        assert expected == pytest.approx(found, rel=1e-9, abs=1e-9, nan_ok=True)


def test_real_prices_grow_in_calendar_time(real):
    """CAGR and Calmar count days, not periods: independent of empyrical on purpose (docs/market.md)."""
    closes, rows = real
    for row in rows.itertuples():
        prices = closes[closes["symbol"] == row.symbol].set_index("day")["adj_close"].sort_index()
        base = prices[: row.as_of_date - pd.Timedelta(days=row.window_days)]
        known = prices[base.index[-1] : row.as_of_date]
        years = (known.index[-1] - known.index[0]).days / 365.25
        annualised = math.exp(math.log(known.iloc[-1] / known.iloc[0]) / years) - 1
        assert row.annualised_return_ratio == pytest.approx(annualised, rel=1e-9)
        if row.max_drawdown_ratio == 0:
            assert row.worst_day_ratio >= 0
            assert pd.isna([row.calmar_ratio, row.max_drawdown_peak_date, row.max_drawdown_trough_date]).all()
            continue
        assert row.calmar_ratio == pytest.approx(annualised / -row.max_drawdown_ratio, rel=1e-9)
        fall = known[row.max_drawdown_trough_date] / known[row.max_drawdown_peak_date] - 1
        assert row.max_drawdown_ratio == pytest.approx(fall, rel=1e-12)


# --- laws ----------------------------------------------------------------------------------------------------------

prices = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.0]), st.floats(0.01, 1e6))
paths = st.lists(st.lists(prices, min_size=25, max_size=25), min_size=1, max_size=4)
LAW = {"risk_free_rate": 0.03, "windows": (3, 7, 14)}
DAYS = [FIRST + timedelta(days=index) for index in range(25)]


def closes_of(many):
    frames = [make_closes(path, symbol=symbol) for symbol, path in zip("ABCD", many, strict=False)]
    return pd.concat(frames, ignore_index=True)


@settings(max_examples=60, deadline=None)
@given(paths, st.sampled_from([0.001, 0.1, 3.0, 1e5]), st.randoms(use_true_random=False))
def test_laws(many, factor, random):
    """Scale and order of rows do not matter; days may be split over calls; nothing is infinite or out of range."""
    closes = closes_of(many)
    rows = roi_statistics(closes, MARKETS, as_of_days=DAYS, **LAW)
    assert not np.isinf(rows[RATIOS]).any(axis=None)
    assert rows["max_drawdown_ratio"].dropna().between(-1, 0).all()
    assert (rows["max_drawdown_peak_date"].isna() == rows["max_drawdown_trough_date"].isna()).all()

    order = random.sample(range(len(closes)), len(closes))
    pd.testing.assert_frame_equal(rows, roi_statistics(closes.iloc[order], MARKETS, as_of_days=DAYS[::-1], **LAW))

    parts = [roi_statistics(closes, MARKETS, as_of_days=DAYS[start : start + 9], **LAW) for start in (0, 9, 18)]
    pd.testing.assert_frame_equal(rows, pd.concat(parts, ignore_index=True))

    scaled = roi_statistics(closes.assign(close=closes["close"] * factor), MARKETS, as_of_days=DAYS, **LAW)
    pd.testing.assert_frame_equal(rows, scaled, rtol=1e-7, atol=1e-9)


def naive_row(path, as_of, window, rate, periods):
    """The definitions of docs/market.md for one symbol, one day, one window, value by value."""
    known = {day: price for day, price in enumerate(path[: as_of + 1]) if price is not None}
    inside = [day for day in known if day > as_of - window]
    before = [day for day in known if as_of - window - 7 <= day <= as_of - window]
    count = len(inside) if before else max(len(inside) - 1, 0)
    if not count:
        return None
    if not before:
        return {"return_count": count}
    days = [before[-1], *inside]
    values = [known[day] for day in days]
    returns = [now / then - 1 for then, now in pairwise(values)]
    daily = (1 + rate) ** (1 / periods) - 1
    falls = [now / max(values[: at + 1]) - 1 for at, now in enumerate(values)]
    trough = next(at for at, fall in enumerate(falls) if fall <= min(falls) + 1e-12)
    mean, deviation = np.mean(returns) - daily, np.std(returns, ddof=1) if count > 1 else math.nan
    if max(returns) - min(returns) <= 1e-12 * (1 + max(returns)) and count > 1:
        deviation = 0.0
    downside = math.sqrt(sum(min(value - daily, 0) ** 2 for value in returns) / count)
    growth = values[-1] / values[0]
    try:
        annual = growth ** (365.25 / (days[-1] - days[0])) - 1
    except OverflowError:
        annual = math.nan
    calmar = annual / -min(falls) if min(falls) < 0 else math.nan
    return {
        "return_count": count,
        "total_return_ratio": growth - 1,
        "annualised_return_ratio": annual,
        "volatility_ratio": deviation * math.sqrt(periods),
        "sharpe_ratio": mean / deviation * math.sqrt(periods) if deviation > 0 else math.nan,
        "sortino_ratio": mean / downside * math.sqrt(periods) if count > 1 and downside > 1e-12 else math.nan,
        "max_drawdown_ratio": min(falls),
        "max_drawdown_peak_date": days[values.index(max(values[: trough + 1]))] if min(falls) < 0 else None,
        "max_drawdown_trough_date": days[trough] if min(falls) < 0 else None,
        "calmar_ratio": calmar if math.isfinite(calmar) else math.nan,
        "best_day_ratio": max(returns),
        "worst_day_ratio": min(returns),
    }


@settings(max_examples=60, deadline=None)
@given(paths, st.sampled_from([0.0, 0.03, -0.01]))
def test_equals_the_naive_reference(many, rate):
    """One symbol, day and window at a time gives the same rows."""
    rows = roi_statistics(closes_of(many), MARKETS, as_of_days=DAYS, risk_free_rate=rate, windows=LAW["windows"])
    found = {(row.as_of_date.date(), row.symbol, row.window_days): row for row in rows.itertuples()}
    seen = 0
    for (symbol, periods), path in zip(MARKETS.itertuples(index=False), many, strict=False):
        for index, day in enumerate(DAYS):
            for window in LAW["windows"]:
                expected = naive_row(path, index, window, rate, periods)
                row = found.get((day, symbol, window))
                assert (expected is None) == (row is None)
                if expected is None:
                    continue
                seen += 1
                for name in RATIOS:
                    assert getattr(row, name) == pytest.approx(
                        expected.get(name, math.nan), rel=1e-7, abs=1e-9, nan_ok=True
                    ), name
                for name in ("max_drawdown_peak_date", "max_drawdown_trough_date"):
                    at = expected.get(name)
                    assert pd.isna(getattr(row, name)) if at is None else getattr(row, name) == pd.Timestamp(DAYS[at])
                assert row.return_count == expected["return_count"]
    assert seen == len(rows)
