"""Comparisons: small cases by hand, laws, a naive reference per pair, real prices against pandas."""

import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.market import comparisons as compare
from ingestion_pipeline.domains.market.statistics import METHOD_VERSION
from ingestion_pipeline.domains.market.tables import COMPARISONS

BARS = Path(__file__).parents[2] / "data" / "market"
FIRST = date(2024, 1, 1)
RATIOS = ["price_ratio", "volume_ratio", "roi_spread_ratio", "return_correlation"]


def make_closes(*, volumes=None, adjusted=None, **paths):
    """One close a day per symbol; None leaves the day out."""
    rows = [
        {
            "symbol": symbol,
            "day": FIRST + timedelta(days=index),
            "close": price,
            "adj_close": (adjusted or {}).get(symbol, [None] * len(path))[index],
            "volume": (volumes or {}).get(symbol, [1.0] * len(path))[index],
        }
        for symbol, path in paths.items()
        for index, price in enumerate(path)
        if price is not None
    ]
    columns = ["symbol", "day", "close", "adj_close", "volume"]
    return pd.DataFrame(rows, columns=columns).astype({"close": float, "adj_close": float, "volume": float})


def compared(closes, *, offset, window_days=3):
    rows = compare.comparisons(closes, as_of_days=[FIRST + timedelta(days=offset)], window_days=window_days)
    return {(row.base_symbol, row.quote_symbol): row for row in rows.itertuples()}


def test_columns_are_those_of_the_table_in_its_order():
    """The frame can be written as it is, also when it has no rows."""
    full = compare.comparisons(make_closes(A=[1, 2], B=[1, 2]), as_of_days=[date(2024, 1, 2)], window_days=1)
    none = compare.comparisons(make_closes(A=[1, 2], B=[1, 2]), as_of_days=[])
    alone = compare.comparisons(make_closes(A=[1, 2]), as_of_days=[date(2024, 1, 2)])
    assert list(COMPARISONS.column_names) == list(full.columns) == list(none.columns) == list(alone.columns)
    assert [len(full), len(none), len(alone)] == [1, 0, 0]


def test_every_column_by_hand():
    """A: +10 %, -10 %, 0; B: -50 %, +100 %, +50 %; the window leaves the first close out but as base price."""
    closes = make_closes(B=[10, 5, 10, 15], A=[100, 110, 99, 99], volumes={"A": [9, 1, 2, 3], "B": [9, 1, 1, 1]})
    row = compared(closes, offset=3)["A", "B"]
    first, second = np.array([0.1, -0.1, 0]), np.array([-0.5, 1, 0.5])
    covariance = ((first - first.mean()) * (second - second.mean())).sum()
    expected = {
        "price_ratio": 99 / 15,
        "volume_ratio": 2.0,
        "roi_spread_ratio": -0.01 - 0.5,
        "return_correlation": covariance / (3 * first.std() * second.std()),
        "common_return_count": 3,
        "window_days": 3,
        "method_version": METHOD_VERSION,
        "as_of_date": pd.Timestamp("2024-01-04"),
    }
    assert expected == {
        name: pytest.approx(getattr(row, name)) if isinstance(value, float) else getattr(row, name)
        for name, value in expected.items()
    }


def test_pairs_are_unordered_sorted_and_only_of_symbols_in_the_window():
    """D ended before the window, A comes before B whatever the order of rows."""
    closes = make_closes(D=[1, 1, None, None, None, None], C=[1] * 6, A=[None] * 5 + [2], B=[1] * 6)
    assert list(compared(closes, offset=5)) == [("A", "B"), ("A", "C"), ("B", "C")]
    assert compared(closes, offset=900) == {}


def test_what_cannot_be_divided_is_null():
    """No volume below, no base price, no variance, one common day."""
    closes = make_closes(
        A=[1, 2, 4, 5], B=[7, 7, 7, 7], C=[None, None, None, 3], D=[None, 5, 6, 7], volumes={"B": [0, 0, 0, 0]}
    )
    rows = compared(closes, offset=3)
    assert math.isnan(rows["A", "B"].volume_ratio)
    assert rows["B", "C"].volume_ratio == 0
    assert math.isnan(rows["A", "B"].return_correlation)
    assert math.isnan(rows["A", "C"].roi_spread_ratio)
    assert rows["A", "C"].common_return_count == 0
    assert rows["A", "D"].common_return_count == 2
    assert math.isnan(rows["A", "C"].return_correlation)
    assert math.isnan(rows["A", "D"].roi_spread_ratio)


def test_constant_growth_has_no_correlation():
    """Its returns differ in the last bit only: that is no variance."""
    steady = [0.3 * 1.1**power for power in range(9)]
    rows = compared(make_closes(A=steady, B=[1, 2, 1, 3, 1, 4, 1, 5, 1]), offset=8, window_days=8)
    assert math.isnan(rows["A", "B"].return_correlation)


def test_close_before_a_gap_is_no_base_of_a_return():
    """A close more than seven days older than the window is no history, for the return of its first day either."""
    rows = compared(make_closes(A=[100, *[None] * 8, 110, 121], B=[100.0] * 11), offset=10, window_days=2)
    assert rows["A", "B"].common_return_count == 1
    assert math.isnan(rows["A", "B"].roi_spread_ratio)


def test_an_equity_and_a_coin_are_compared_on_sessions():
    """Monday's return of the equity spans the weekend, that of the coin one day: both as each market reports it."""
    equity = [100, 101, None, None, 103, 102]
    coin = [10, 11, 12, 10, 11, 12]
    row = compared(make_closes(C=coin, E=equity), offset=5, window_days=5)["C", "E"]
    expected = np.corrcoef([0.1, 0.1, 12 / 11 - 1], [0.01, 103 / 101 - 1, 102 / 103 - 1])[0, 1]
    assert row.common_return_count == 3
    assert row.return_correlation == pytest.approx(expected)


def test_adjusted_closes_give_returns_but_not_price_levels():
    """A 2:1 split is no loss; the ratio of prices is of what was paid that day."""
    closes = make_closes(
        A=[100, 100, 50, 55], B=[10, 10, 10, 10], adjusted={"A": [50, 50, 50, 55], "B": [None, 9, 9, 9]}
    )
    row = compared(closes, offset=3)["A", "B"]
    assert (pytest.approx(5.5), pytest.approx(0.1)) == (row.price_ratio, row.roi_spread_ratio)


def test_repeated_rows_and_bad_windows_are_refused():
    """Two closes of one day cannot both be right."""
    closes = pd.concat([make_closes(A=[1, 2]), make_closes(A=[1])])
    with pytest.raises(ValueError, match="A 2024-01-01"):
        compare.comparisons(closes, as_of_days=[FIRST])
    with pytest.raises(ValueError, match="window_days"):
        compare.comparisons(closes, as_of_days=[FIRST], window_days=0)


def test_real_prices_equal_pandas_correlation():
    """AAPL, IBM, MSFT and SP500 over the year to 2009-03-09, within 1e-9."""
    frames = [pd.read_csv(BARS / f"bars_1d_{name}.csv.gz", parse_dates=["ts"]) for name in ("equities", "sp500")]
    closes = pd.concat(frames).rename(columns={"ts": "day"})
    rows = compare.comparisons(closes, as_of_days=[date(2009, 3, 9)], window_days=365)
    prices = closes.pivot(index="day", columns="symbol", values="adj_close")  # noqa: PD010 - one value per cell
    returns = prices[["AAPL", "IBM", "MSFT", "SP500"]].dropna().pct_change()["2008-03-10":"2009-03-09"]
    matrix, totals = returns.corr(), (1 + returns).prod() - 1
    assert len(rows) == 6
    for row in rows.itertuples():
        assert row.return_correlation == pytest.approx(matrix.loc[row.base_symbol, row.quote_symbol], abs=1e-9)
        assert row.roi_spread_ratio == pytest.approx(totals[row.base_symbol] - totals[row.quote_symbol], abs=1e-9)
        assert row.common_return_count == len(returns)


# --- laws ----------------------------------------------------------------------------------------------------------

prices = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.0]), st.floats(0.01, 1e6))
paths = st.lists(st.lists(prices, min_size=20, max_size=20), min_size=2, max_size=6)
DAYS = [FIRST + timedelta(days=index) for index in range(20)]


def closes_of(many):
    return make_closes(**dict(zip("ABCDEF", many, strict=False)))


def assert_rows_equal(expected, found):
    as_text = {"base_symbol": "str", "quote_symbol": "str", "method_version": "str"}
    pd.testing.assert_frame_equal(expected.astype(as_text), found.astype(as_text), rtol=1e-7, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(paths, st.sampled_from([0.001, 0.1, 3.0, 1e5]), st.randoms(use_true_random=False))
def test_laws(many, factor, random):
    """Scale and order of rows do not matter; days may be split over calls; nothing is infinite or out of range."""
    closes = closes_of(many)
    rows = compare.comparisons(closes, as_of_days=DAYS, window_days=7)
    assert not np.isinf(rows[RATIOS]).any(axis=None)
    assert rows["return_correlation"].dropna().between(-1, 1).all()
    assert (rows["base_symbol"].astype(str) < rows["quote_symbol"].astype(str)).all()

    order = random.sample(range(len(closes)), len(closes))
    assert_rows_equal(rows, compare.comparisons(closes.iloc[order], as_of_days=DAYS[::-1], window_days=7))

    parts = [compare.comparisons(closes, as_of_days=DAYS[start : start + 9], window_days=7) for start in (0, 9, 18)]
    assert_rows_equal(rows, pd.concat(parts, ignore_index=True))

    scaled = closes.assign(close=closes["close"] * factor)
    assert_rows_equal(rows, compare.comparisons(scaled, as_of_days=DAYS, window_days=7))


@settings(max_examples=60, deadline=None)
@given(paths)
def test_correlation_is_symmetric(many):
    """Reversing the alphabet reverses the pair: same correlation, opposite spread, inverse price ratio."""
    names = "ABCDEF"[: len(many)]
    mirrored = dict(zip(names, reversed(names), strict=True))
    closes = closes_of(many)
    rows = compared(closes, offset=19, window_days=14)
    other = compared(closes.assign(symbol=closes["symbol"].map(mirrored)), offset=19, window_days=14)
    assert len(rows) == len(other)
    for (base, quote), row in rows.items():
        twin = other[mirrored[quote], mirrored[base]]
        expected = [row.return_correlation, -row.roi_spread_ratio, 1 / row.price_ratio, row.common_return_count]
        found = [twin.return_correlation, twin.roi_spread_ratio, twin.price_ratio, twin.common_return_count]
        assert expected == pytest.approx(found, rel=1e-7, abs=1e-7, nan_ok=True)


def naive_returns(path, as_of, window):
    """Returns by day and the total return of one symbol, value by value."""
    known = {day: price for day, price in enumerate(path[: as_of + 1]) if price is not None}
    inside = [day for day in known if day > as_of - window]
    before = [day for day in known if as_of - window - 7 <= day <= as_of - window][-1:]
    days = [*before, *inside]
    returns = {now: known[now] / known[then] - 1 for then, now in zip(days[:-1], days[1:], strict=True)}  # noqa: RUF007
    total = known[days[-1]] / known[days[0]] - 1 if before and inside else math.nan
    return returns, total, known[inside[-1]] if inside else None, len(inside)


def naive_correlation(first, second, common):
    for returns in (first, second):
        values = [returns[day] for day in common]
        if len(values) < 2 or max(values) - min(values) <= 1e-12 * (1 + max(values)):
            return math.nan
    frame = pd.DataFrame({"first": pd.Series(first)[common], "second": pd.Series(second)[common]})
    return frame.corr().loc["first", "second"]


@pytest.mark.parametrize("most_calendars", [0, 12])
@settings(max_examples=60, deadline=None)
@given(paths)
def test_equals_the_naive_reference(most_calendars, many):
    """One pair at a time gives the same rows, whether pairs go by groups of calendars or by masks."""
    limit = compare._MAX_CALENDARS
    compare._MAX_CALENDARS = most_calendars
    try:
        for as_of in (6, 12, 19):
            found = compared(closes_of(many), offset=as_of, window_days=9)
            assert_equal_naive(found, dict(zip("ABCDEF", many, strict=False)), as_of)
    finally:
        compare._MAX_CALENDARS = limit


def assert_equal_naive(found, many, as_of):
    known = {symbol: naive_returns(path, as_of, 9) for symbol, path in many.items()}
    active = [symbol for symbol, (*_, count) in known.items() if count]
    pairs = [(base, quote) for base in active for quote in active if base < quote]
    assert pairs == list(found)
    for base, quote in pairs:
        (first, first_total, first_price, first_count), (second, second_total, second_price, second_count) = (
            known[base],
            known[quote],
        )
        common = [day for day in first if day in second]
        expected = [
            first_price / second_price,
            first_count / second_count,
            first_total - second_total,
            naive_correlation(first, second, common),
            len(common),
        ]
        row = found[base, quote]
        assert expected == pytest.approx(
            [*(getattr(row, name) for name in RATIOS), row.common_return_count], rel=1e-7, abs=1e-7, nan_ok=True
        )


@pytest.mark.parametrize(("calendars", "markets"), [(1, 600), (3, 200), (40, 200)])
def test_many_markets_equal_pandas_correlation(calendars, markets):
    """More symbols than one block, with one, a few and many calendars."""
    random = np.random.default_rng(7)
    returns = random.normal(0, 0.02, (60, markets))
    for symbol in range(markets):
        if symbol % calendars:
            returns[symbol % calendars, symbol] = np.nan
    returns[:, 5] = 0.0
    returns[:, 7] = 0.001 + 1e-9 * random.normal(size=60)
    ones = np.ones(markets)
    found = compare.pair_statistics(returns, last_close=ones, volume=ones, total_return=ones)
    frame = pd.DataFrame(returns)
    above = np.triu_indices(markets, 1)
    expected = frame.corr().to_numpy()[above]
    assert found.return_correlation == pytest.approx(expected, abs=1e-6, nan_ok=True)
    steady = (above[0] == 7) | (above[1] == 7)
    assert found.return_correlation[~steady] == pytest.approx(expected[~steady], abs=1e-9, nan_ok=True)
    assert (
        found.common_return_count == (frame.notna().T.astype(int) @ frame.notna().astype(int)).to_numpy()[above]
    ).all()
