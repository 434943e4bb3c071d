"""What must hold of the market tables, one claim each: a function from rows to the rows that break it."""

import dagster as dg
import pandas as pd

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.market.tables import (
    COMPARISONS,
    OHLC_DAILY,
    OHLC_HOURLY,
    OHLC_WEEKLY,
    PRICE_BARS,
    ROI_STATISTICS,
    SNAPSHOTS,
)
from ingestion_pipeline.orchestration.checks import Claim, table_checks

SMALLEST_COUNT_SHARE = 0.5


def disordered_prices(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars whose prices are not low ≤ open, close ≤ high."""
    low, high = bars[["open", "close"]].min(axis=1), bars[["open", "close"]].max(axis=1)
    return bars[~((bars["low"] <= low) & (high <= bars["high"]))]


def repeated_keys(rows: pd.DataFrame, *, key: tuple[str, ...]) -> pd.DataFrame:
    """Rows whose key another row has too."""
    return rows[rows.duplicated(list(key), keep=False)]


def misplaced_bars(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars that start on another UTC day, or week, than that of their partition."""
    return bars[bars["bar_start_at"].dt.tz_localize(None).dt.normalize() != pd.to_datetime(bars["day"])]


def incomplete_bars(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars with fewer finest bars than the calendar promises; the newest bucket of a market may be unfinished."""
    newest = bars.groupby("symbol")["bar_start_at"].transform("max")
    return bars[~bars["is_complete"].astype(bool) & (bars["bar_start_at"] < newest)]


def shrunken_partitions(bars: pd.DataFrame) -> pd.DataFrame:
    """Partitions with less than half of the rows per market of the partition before; the newest may be unfinished."""
    counts = bars.groupby(["symbol", "day"]).size().rename("rows").reset_index().sort_values(["symbol", "day"])
    counts["rows_before"] = counts.groupby("symbol")["rows"].shift()
    unfinished = counts["day"] == counts.groupby("symbol")["day"].transform("max")
    return counts[(counts["rows"] < counts["rows_before"] * SMALLEST_COUNT_SHARE) & ~unfinished]


def infinite_values(rows: pd.DataFrame) -> pd.DataFrame:
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
        description="Every finished bucket has all bars that the trading calendar promises.",
        breaking=incomplete_bars,
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
                breaking=shrunken_partitions,
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
