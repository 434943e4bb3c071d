"""Bars as a frame: one column order, one set of types, and the quote that the last finished bar gives.

Belongs here: what every provider does with bars after it has them. Does not belong here: where they come from.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ingestion_pipeline.core.errors import ProviderUnavailableError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.base import BAR_COLUMNS, Quote

if TYPE_CHECKING:
    import pandas as pd

VALUE_COLUMNS = ("open", "high", "low", "close", "adj_close", "volume")
MICROSECONDS = 1_000_000
DAY_SECONDS = 86_400
# The longest closure of a stock exchange that a 24-hour change has to reach across, with margin.
QUOTE_LOOKBACK = timedelta(days=8)

Instants = NDArray[np.int64]


def bars_frame(
    symbol: str, start_us: Instants, *, interval_seconds: ArrayLike, values: Mapping[str, ArrayLike]
) -> "pd.DataFrame":
    """The columns BAR_COLUMNS from arrays of equal length; `start_us` counts microseconds since 1970 UTC.

    `values` holds VALUE_COLUMNS; a missing `adj_close` becomes NaN.
    """
    import pandas as pd

    count = len(start_us)
    columns: dict[str, object] = {
        "symbol": pd.Series([symbol], dtype="str").repeat(count).reset_index(drop=True),
        "bar_start_at": pd.DatetimeIndex(start_us.astype("datetime64[us]"), tz="UTC"),
        "interval_seconds": np.broadcast_to(np.asarray(interval_seconds, dtype=np.int64), count).copy(),
    }
    for name in VALUE_COLUMNS:
        given = np.asarray(values.get(name, np.nan), dtype=np.float64)
        columns[name] = np.broadcast_to(given, count).copy()
    return pd.DataFrame(columns, columns=list(BAR_COLUMNS))


def empty_bars(symbol: str) -> "pd.DataFrame":
    """No bars, with the columns and types of bars."""
    return bars_frame(symbol, np.empty(0, dtype=np.int64), interval_seconds=0, values={})


def is_finished(start_us: Instants, interval_seconds: ArrayLike, *, now: datetime) -> NDArray[np.bool_]:
    """Which bars have ended at `now`."""
    ends = start_us + np.asarray(interval_seconds, dtype=np.int64) * MICROSECONDS
    return ends <= microseconds(now)


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970 UTC, exact."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def quote_window(last_bar_before: datetime) -> Window:
    """The bars that `latest_quote` needs."""
    return Window(last_bar_before - QUOTE_LOOKBACK, last_bar_before)


def latest_quote(symbol: str, bars: "pd.DataFrame", *, provider: str) -> Quote:
    """The quote that the last bar gives; the change is against the last bar that ended 24 hours earlier.

    Raises:
        ProviderUnavailableError: there is no bar yet.
    """
    import pandas as pd

    if bars.empty:
        raise ProviderUnavailableError(provider, f"no finished bar of {symbol} yet")
    bars = bars.sort_values("bar_start_at", ignore_index=True)
    ends = bars["bar_start_at"] + pd.to_timedelta(bars["interval_seconds"], unit="s")
    as_of = ends.iloc[-1]
    a_day_before = as_of - timedelta(days=1)
    price = float(bars["close"].iloc[-1])
    earlier = bars["close"][ends <= a_day_before]
    return Quote(
        symbol=symbol,
        as_of=as_of.to_pydatetime().astimezone(UTC),
        price=price,
        change_24h_ratio=price / float(earlier.iloc[-1]) - 1 if len(earlier) else None,
        volume_24h=float(bars["volume"][bars["bar_start_at"] >= a_day_before].sum()),
    )
