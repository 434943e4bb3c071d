"""What must hold of the property tables, one claim each: a function from rows to the rows that break it.

Keys, signs and finite numbers are constraints of the tables themselves. Of fundamentals and comparable sales the checks
see the markets that have received something of late, some markets at a time, of predictions the recent rows: the tables
may hold millions of rows.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
from sqlalchemy import text

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.property.ingest import failed_series
from ingestion_pipeline.domains.property.metrics import METRICS
from ingestion_pipeline.domains.property.tables import (
    COMPS,
    FUNDAMENTALS,
    FUNDAMENTALS_STALENESS,
    MACRO_OBSERVATIONS,
)
from ingestion_pipeline.orchestration.checks import Claim, outcomes, table_checks
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

RECENT = timedelta(days=2)
MARKETS_PER_PART = 100
ROWS_PER_PART = 50_000
LARGEST_STEP = 2.0
STEP_DAYS = 45
LARGEST_PRICE_RATIO = 10.0
FEWEST_COMPS = 10
FURTHEST_DEGREES = 2.0
MISSED_PERIODS = 4
NEWEST_OBSERVATIONS = 10
DAY_SECONDS = 86_400

_MARKETS = "select distinct market_slug from {table} where received_at >= :since order by market_slug"
_RECENT_ROWS = "select {columns} from {table} where {column} >= :since"
_ROWS = "select {columns} from {table} where market_slug = any(:markets)"


def implausible_figures(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Figures outside the bounds of their metric, in another unit, or of a metric that is not known."""
    import pandas as pd

    bounds = pd.DataFrame(
        [(name, it.unit, it.lowest, it.highest) for name, it in METRICS.items()],
        columns=["metric", "metric_unit", "lowest", "highest"],
    )
    joined = rows[["metric", "unit", "value"]].merge(bounds, on="metric", how="left")
    is_good = (joined["unit"] == joined["metric_unit"]) & joined["value"].between(joined["lowest"], joined["highest"])
    return rows[~is_good.to_numpy()]


def mixed_sources(rows: "pd.DataFrame") -> "pd.DataFrame":
    """One row per source of each series of figures that comes from more than one: they may measure differently."""
    series = ["market_slug", "metric"]
    sources = rows.groupby(series)["source"].transform("nunique")
    return rows[sources > 1].drop_duplicates([*series, "source"])[[*series, "source"]]


def sudden_steps(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Prices that are more than double, or less than half, of the one before, at most 45 days earlier."""
    import pandas as pd

    money = rows[rows["unit"] == "usd"].sort_values(["market_slug", "metric", "as_of_date"])
    money = money.assign(as_of_date=pd.to_datetime(money["as_of_date"]))
    before = money.groupby(["market_slug", "metric"])[["value", "as_of_date"]].shift()
    ratio = money["value"] / before["value"]
    is_next = money["as_of_date"] - before["as_of_date"] <= timedelta(days=STEP_DAYS)
    return money[is_next & ((ratio > LARGEST_STEP) | (ratio < 1 / LARGEST_STEP))]


def odd_prices(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Sales whose price per square foot is ten times, or a tenth of, the median of their market and type."""
    priced = rows.assign(price_per_sqft=rows["sale_price_usd"] / rows["living_area_sqft"])
    priced = priced[priced["price_per_sqft"].notna()]
    kind = priced.groupby(["market_slug", "property_type"])["price_per_sqft"]
    ratio = priced["price_per_sqft"] / kind.transform("median")
    is_odd = (ratio > LARGEST_PRICE_RATIO) | (ratio < 1 / LARGEST_PRICE_RATIO)
    return priced[is_odd & (kind.transform("size") >= FEWEST_COMPS)]


def distant_sales(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Sales more than two degrees from the middle of their market: of another one, or with swapped coordinates."""
    placed = rows[rows["latitude"].notna()]
    middle = placed.groupby("market_slug")[["latitude", "longitude"]].transform("median")
    return placed[((placed[["latitude", "longitude"]] - middle).abs() > FURTHEST_DEGREES).any(axis=1)]


def unsold(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Sales dated after they were received."""
    import pandas as pd

    sold_at = pd.to_datetime(rows["sale_date"]).dt.tz_localize("UTC")
    return rows[sold_at > rows["received_at"] + timedelta(days=1)]


def early_vintages(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Observations that were known before their period began, or confirmed before they were known."""
    import pandas as pd

    vintage, day = pd.to_datetime(rows["vintage_date"]), pd.to_datetime(rows["observation_date"])
    return rows[(vintage < day) | (pd.to_datetime(rows["confirmed_date"]) < vintage)]


def current_observations(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Of each series and day the row that was confirmed last, ascending by day."""
    ordered = rows.sort_values(["series_id", "observation_date", "confirmed_date", "received_at"])
    return ordered.drop_duplicates(["series_id", "observation_date"], keep="last")


def silent_series(rows: "pd.DataFrame", *, now: datetime) -> "pd.DataFrame":
    """The newest observation of each series that has missed four of its periods: it may have been discontinued."""
    import pandas as pd

    current = current_observations(rows).assign(day=lambda it: pd.to_datetime(it["observation_date"]))
    gap_days = current.groupby("series_id")["day"].diff().dt.total_seconds() / DAY_SECONDS
    period_days = gap_days.groupby(current["series_id"]).median()
    newest = current.drop_duplicates("series_id", keep="last")
    # a period is named by its first day, and published after its last
    allowed_days = newest["series_id"].map(period_days).astype("float64") * (MISSED_PERIODS + 1) + STEP_DAYS
    age_days = (pd.Timestamp(now).tz_localize(None) - newest["day"]).dt.total_seconds() / DAY_SECONDS
    return newest[age_days > allowed_days]


def blank_series(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The newest observation of each series whose ten newest ones all have no value."""
    newest = current_observations(rows).groupby("series_id").tail(NEWEST_OBSERVATIONS)
    has_value = newest["value"].notna().groupby(newest["series_id"]).transform("any")
    return newest[~has_value].drop_duplicates("series_id", keep="last")


def stale_markets(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Markets whose newest fundamental is too old."""
    return rows[rows["is_stale"].to_numpy(dtype=bool)]


def market_checks(table: Table, claims: Sequence[Claim]) -> dg.AssetChecksDefinition:
    """The checks of `table`, over all rows of the markets that have received something of late."""
    return _checks(table, claims, lambda postgres: recent_markets(table, postgres, since=utc_now() - RECENT))


def _checks(
    table: Table, claims: Sequence[Claim], parts_of: "Callable[[Postgres], Iterator[pd.DataFrame]]"
) -> dg.AssetChecksDefinition:
    key = dg.AssetKey(list(table.asset_key))
    specs = [dg.AssetCheckSpec(claim.name, asset=key, description=claim.description) for claim in claims]

    @dg.multi_asset_check(name=f"{table.name}_checks", specs=specs, can_subset=True, retry_policy=RETRY_POLICY)
    def run_claims(
        context: dg.AssetCheckExecutionContext, postgres: dg.ResourceParam[Postgres]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {check.name for check in context.selected_asset_check_keys}
        with log_context(context, table), explained_failures():
            yield from outcomes(table, [claim for claim in claims if claim.name in selected], parts_of(postgres))

    return run_claims


def recent_markets(table: Table, postgres: Postgres, *, since: datetime) -> "Iterator[pd.DataFrame]":
    """All rows of the markets that have received a row of `table` since then, a hundred markets at a time."""
    import pandas as pd

    with postgres.engine.connect() as connection:
        found = connection.execute(text(_MARKETS.format(table=table.qualified_name)), {"since": since})
        markets = list(found.scalars())
        statement = text(_ROWS.format(columns=", ".join(table.column_names), table=table.qualified_name))
        for i in range(0, len(markets), MARKETS_PER_PART):
            part = {"markets": markets[i : i + MARKETS_PER_PART]}
            yield pd.read_sql(statement, connection, params=part).astype(_numbers(table))


def recent_checks(table: Table, claims: Sequence[Claim], *, column: str) -> dg.AssetChecksDefinition:
    """The checks of `table`, over the rows whose `column` (a day or an instant) is recent."""
    return _checks(
        table, claims, lambda postgres: recent_rows(table, postgres, column=column, since=utc_now() - RECENT)
    )


def recent_rows(table: Table, postgres: Postgres, *, column: str, since: datetime) -> "Iterator[pd.DataFrame]":
    """The rows of `table` from then on, without its JSON, ROWS_PER_PART at a time."""
    import pandas as pd

    columns = ", ".join(it.name for it in table.columns if it.type != "json")
    statement = text(_RECENT_ROWS.format(columns=columns, table=table.qualified_name, column=column))
    with postgres.engine.connect().execution_options(stream_results=True) as connection:
        for part in pd.read_sql(statement, connection, params={"since": since}, chunksize=ROWS_PER_PART):
            yield part.astype(_numbers(table))


@dg.asset_check(
    asset=dg.AssetKey(list(MACRO_OBSERVATIONS.asset_key)),
    name="macro_observations_answered",
    description="FRED answered for every series of FRED_SERIES when it was asked last.",
    retry_policy=RETRY_POLICY,
)
def macro_observations_answered(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
) -> dg.AssetCheckResult:
    with log_context(context, MACRO_OBSERVATIONS), explained_failures():
        failed = failed_series(postgres, settings.fred_series)
    return dg.AssetCheckResult(passed=not failed, metadata={"series": len(settings.fred_series), **failed})


def _numbers(table: Table) -> dict[str, type]:
    """A column that is NULL throughout would come as objects."""
    return {column.name: np.float64 for column in table.columns if column.type == "float"}


CHECKS: list[dg.AssetChecksDefinition] = [
    macro_observations_answered,
    table_checks(
        MACRO_OBSERVATIONS,
        [
            Claim(
                name="macro_observations_have_ordered_days",
                description="A value is known on or after its day, and confirmed on or after that.",
                breaking=early_vintages,
                warns=True,
            ),
            Claim(
                name="macro_observations_go_on",
                description="No series has missed four of its periods.",
                breaking=lambda rows: silent_series(rows, now=utc_now()),
                warns=True,
            ),
            Claim(
                name="macro_observations_have_values",
                description="Of the ten newest observations of each series one has a value.",
                breaking=blank_series,
                warns=True,
            ),
        ],
    ),
    market_checks(
        FUNDAMENTALS,
        [
            Claim(
                name="fundamentals_are_plausible",
                description="Every figure is within the bounds of its metric and in its unit.",
                breaking=implausible_figures,
            ),
            Claim(
                name="fundamentals_have_one_source",
                description="No market's figures of one metric come from two sources.",
                breaking=mixed_sources,
                warns=True,
            ),
            Claim(
                name="fundamentals_do_not_jump",
                description="No price doubles or halves within 45 days.",
                breaking=sudden_steps,
                warns=True,
            ),
        ],
    ),
    table_checks(
        FUNDAMENTALS_STALENESS,
        [
            Claim(
                name="fundamentals_staleness_names_no_market",
                description="No market's newest fundamental is older than FUNDAMENTALS_MAX_STALENESS_DAYS.",
                breaking=stale_markets,
                warns=True,
            )
        ],
    ),
    market_checks(
        COMPS,
        [
            Claim(name="comps_are_sold", description="No sale is dated after it was received.", breaking=unsold),
            Claim(
                name="comps_have_usual_prices",
                description="No price per square foot is ten times the median of its market and type, or a tenth.",
                breaking=odd_prices,
                warns=True,
            ),
            Claim(
                name="comps_lie_in_their_market",
                description="No sale is two degrees away from the middle of its market.",
                breaking=distant_sales,
                warns=True,
            ),
        ],
    ),
]
