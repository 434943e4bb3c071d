"""What must hold of the market tables, one claim each: a function from rows to the rows that break it."""

from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.market.tables import (
    COMPARISONS,
    GRAIN_SECONDS,
    GRAINS,
    OHLC_DAILY,
    OHLC_HOURLY,
    OHLC_WEEKLY,
    PRICE_BARS,
    ROI_STATISTICS,
    SNAPSHOTS,
    Grain,
)
from ingestion_pipeline.orchestration.checks import Claim, table_checks

if TYPE_CHECKING:
    import pandas as pd

SMALLEST_COUNT_SHARE = 0.5


def disordered_prices(bars: "pd.DataFrame") -> "pd.DataFrame":
    """Bars whose prices are not low ≤ open, close ≤ high."""
    low, high = bars[["open", "close"]].min(axis=1), bars[["open", "close"]].max(axis=1)
    return bars[~((bars["low"] <= low) & (high <= bars["high"]))]


def repeated_keys(rows: "pd.DataFrame", *, key: tuple[str, ...]) -> "pd.DataFrame":
    """Rows whose key another row has too."""
    return rows[rows.duplicated(list(key), keep=False)]


def misplaced_bars(bars: "pd.DataFrame") -> "pd.DataFrame":
    """Bars that start on another UTC day, or week, than that of their partition."""
    import pandas as pd

    return bars[bars["bar_start_at"].dt.tz_localize(None).dt.normalize() != pd.to_datetime(bars["day"])]


def incomplete_bars(bars: "pd.DataFrame", *, grain: Grain, now: datetime) -> "pd.DataFrame":
    """Finished bars with fewer finest bars than the calendar promises."""
    import pandas as pd

    ends = bars["bar_start_at"] + pd.Timedelta(seconds=GRAIN_SECONDS[grain])
    return bars[~bars["is_complete"].astype(bool) & (ends <= now)]


def shrunken_partitions(bars: "pd.DataFrame", *, now: datetime) -> "pd.DataFrame":
    """Ended days with less than half of the rows per market of the market's day before."""
    import pandas as pd

    counts = bars.groupby(["symbol", "day"]).size().rename("rows").reset_index().sort_values(["symbol", "day"])
    counts["rows_before"] = counts.groupby("symbol")["rows"].shift()
    is_ended = pd.to_datetime(counts["day"], utc=True) + pd.Timedelta(days=1) <= now
    return counts[(counts["rows"] < counts["rows_before"] * SMALLEST_COUNT_SHARE) & is_ended]


def mixed_providers(bars: "pd.DataFrame") -> "pd.DataFrame":
    """Markets whose bars come from more than one provider: their prices may not be comparable."""
    sources = bars.groupby("symbol")["provider"].nunique()
    return bars[bars["symbol"].isin(sources[sources > 1].index)].drop_duplicates(["symbol", "provider"])


def infinite_values(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Rows with a number that is infinite. NULL is allowed: it says undefined."""
    numbers = rows.select_dtypes("number")
    return rows[(numbers.abs() == float("inf")).any(axis=1)]


def _unique(table: Table) -> Claim:
    return Claim(
        name=f"{table.name}_have_unique_keys",
        description=f"No two rows share {', '.join(table.key)}.",
        breaking=lambda rows: repeated_keys(rows, key=table.key),
        blocks=table is PRICE_BARS,
    )


def _bar_claims(table: Table) -> list[Claim]:
    return [
        Claim(
            name=f"{table.name}_have_ordered_prices",
            description="low ≤ open, close ≤ high.",
            breaking=disordered_prices,
            blocks=table is PRICE_BARS,
        ),
        _unique(table),
        Claim(
            name=f"{table.name}_lie_in_their_partition",
            description="A bar's start lies in its partition.",
            breaking=misplaced_bars,
            blocks=table is PRICE_BARS,
        ),
    ]


def _complete(table: Table) -> Claim:
    return Claim(
        name=f"{table.name}_are_complete",
        description="Every finished bar is made of all finest bars that the trading calendar promises.",
        breaking=lambda bars: incomplete_bars(bars, grain=GRAINS[table.name], now=utc_now()),
        warns=True,
    )


def _finite(table: Table) -> Claim:
    return Claim(name=f"{table.name}_are_finite", description="Numbers are finite or NULL.", breaking=infinite_values)


CHECKS: list[dg.AssetChecksDefinition] = [
    table_checks(
        PRICE_BARS,
        [
            *_bar_claims(PRICE_BARS),
            Claim(
                name="price_bars_keep_their_row_count",
                description="No market has less than half of the bars of the day before.",
                breaking=lambda bars: shrunken_partitions(bars, now=utc_now()),
                warns=True,
            ),
            Claim(
                name="price_bars_have_one_provider",
                description="No market's bars come from two providers.",
                breaking=mixed_providers,
                warns=True,
            ),
        ],
        history_days=1,
    ),
    table_checks(OHLC_HOURLY, [*_bar_claims(OHLC_HOURLY), _complete(OHLC_HOURLY)]),
    table_checks(OHLC_DAILY, [*_bar_claims(OHLC_DAILY), _complete(OHLC_DAILY)]),
    table_checks(OHLC_WEEKLY, [*_bar_claims(OHLC_WEEKLY), _complete(OHLC_WEEKLY)]),
    table_checks(SNAPSHOTS, [_unique(SNAPSHOTS), _finite(SNAPSHOTS)]),
    table_checks(COMPARISONS, [_unique(COMPARISONS), _finite(COMPARISONS)]),
    table_checks(ROI_STATISTICS, [_unique(ROI_STATISTICS), _finite(ROI_STATISTICS)]),
]
