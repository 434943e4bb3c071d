"""What must hold of the ledger and of what is derived from it: named statements that give the rows that break a claim.

The tables may hold millions of rows: PostgreSQL looks for what is wrong, and only that is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.sales.tables import COVERAGE, EXCHANGE_RATES, SALES_DAILY, SALES_EVENTS, SALES_MONTHLY
from ingestion_pipeline.domains.sales.transforms import disagreements
from ingestion_pipeline.orchestration.checks import Claim, outcomes, table_checks
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

LARGEST_STEP_RATIO = 0.5

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class QueryClaim:
    """`query` names a statement of sql/queries whose rows break the claim; `breaking` picks them where SQL cannot."""

    name: str
    description: str
    query: str
    breaking: Callable[[Sequence[Row]], Sequence[Row]] = list
    warns: bool = False


def disagreeing_reports(reports: Sequence[Row]) -> list[Row]:
    """One row per quantity that a report states otherwise than its rows add up, beyond rounding."""
    return [
        {
            "platform": it["platform"],
            "source_sha256": it["sha256"],
            "unread_rows": it["problem_count"],
            **found._asdict(),
        }
        for it in reports
        for found in disagreements(
            {name: {side: Decimal(value) for side, value in sides.items()} for name, sides in it["totals"].items()}
        )
    ]


def sudden_rates(rates: "pd.DataFrame") -> "pd.DataFrame":
    """Rates half as much again as the one before, or the reverse: a slip of a decimal point, or a new unit."""
    ordered = rates.sort_values(["currency", "rate_date"])
    value = ordered["usd_per_unit"].astype(float)
    ratio = value / value.groupby(ordered["currency"]).shift()
    return ordered[(ratio > 1 + LARGEST_STEP_RATIO) | (ratio < 1 / (1 + LARGEST_STEP_RATIO))]


def query_checks(table: Table, claims: Sequence[QueryClaim]) -> dg.AssetChecksDefinition:
    """The checks of `table` by statements, one step."""
    key = dg.AssetKey(list(table.asset_key))
    specs = [dg.AssetCheckSpec(it.name, asset=key, description=it.description) for it in claims]

    @dg.multi_asset_check(name=f"{table.name}_checks", specs=specs, can_subset=True, retry_policy=RETRY_POLICY)
    def run_claims(
        context: dg.AssetCheckExecutionContext, postgres: dg.ResourceParam[Postgres]
    ) -> Iterator[dg.AssetCheckResult]:
        import pandas as pd

        selected = {check.name for check in context.selected_asset_check_keys}
        with log_context(context, table), explained_failures():
            for it in claims:
                if it.name in selected:
                    rows = pd.DataFrame(it.breaking(postgres.read(it.query)))
                    claim = Claim(name=it.name, description=it.description, breaking=lambda part: part, warns=it.warns)
                    yield from outcomes(table, [claim], iter([rows]))

    return run_claims


CHECKS: list[dg.AssetChecksDefinition] = [
    table_checks(
        EXCHANGE_RATES,
        [
            Claim(
                name="exchange_rates_move_little",
                description="No rate is half as much again as the one before it, or the reverse.",
                breaking=sudden_rates,
                warns=True,
            )
        ],
    ),
    query_checks(
        SALES_EVENTS,
        [
            QueryClaim(
                name="sales_events_agree_with_stated_totals",
                description="What a report states as its sums is what its rows add up to, within rounding.",
                query="sales_stated_totals",
                breaking=disagreeing_reports,
                warns=True,
            ),
            QueryClaim(
                name="sales_events_have_rates",
                description="Royalties of the last 100 days have an exchange rate once their period is over.",
                query="sales_unrated_currencies",
                warns=True,
            ),
            QueryClaim(
                name="sales_events_are_reported",
                description="Each platform of an owner had a report within 40 days; Gumroad, by its API, within 3.",
                query="sales_silent_platforms",
                warns=True,
            ),
        ],
    ),
    query_checks(
        SALES_DAILY,
        [
            QueryClaim(
                name="sales_daily_net_units",
                description="Net units of a day are the copies sold minus those refunded, by the rows of the ledger.",
                query="sales_unbalanced_units",
            ),
            QueryClaim(
                name="sales_daily_add_up_to_the_ledger",
                description="The days of a month add up to the rows of the ledger that are counted.",
                query="sales_daily_differences",
            ),
        ],
    ),
    query_checks(
        SALES_MONTHLY,
        [
            QueryClaim(
                name="sales_monthly_add_up_to_the_days",
                description="A month is the sum of its days.",
                query="sales_monthly_differences",
            )
        ],
    ),
    query_checks(
        COVERAGE,
        [
            QueryClaim(
                name="coverage_has_no_gaps",
                description="Every month that is over is covered by a report.",
                query="sales_missing_months",
                warns=True,
            )
        ],
    ),
]
