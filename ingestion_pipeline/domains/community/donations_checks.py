"""What must hold of donations: sums that add up, rows that are what their facts make, money that reaches an author."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.donations import donation
from ingestion_pipeline.domains.community.donations_ledger import fact_of_row
from ingestion_pipeline.domains.community.donations_tables import DONATIONS
from ingestion_pipeline.orchestration.checks import examples
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.partitions import DAILY, tagged_window
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.storage.postgres import Postgres

CHECKED_DAYS = 7
COMPARED = (
    "payment_intent",
    "rule_id",
    "donor_id",
    "is_anonymous",
    "currency",
    "received",
    "refunded",
    "disputed",
    "net",
    "status",
    "dispute_status",
    "donor_name",
    "message",
    "paid_at",
    "is_live",
)
"""What facts alone decide, and the author unless it is the rule's."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class DonationClaim:
    """`breaking` gives the rows of a window that break the claim."""

    name: str
    description: str
    breaking: Callable[[Postgres, Window], Sequence[Row]]
    warns: bool = False


def differing(postgres: Postgres, window: Window) -> list[Row]:
    """Donations paid in `window`, or never, that are not what their facts make; and which columns differ."""
    days: dict[str, date] = {"first": window.first_day, "last": window.last_day}
    found: list[Row] = []
    for row in postgres.read("community_donations_with_facts", days):
        made = donation([fact_of_row(fact) for fact in row["facts"] or ()])
        columns = ["payment_intent"] if made is None else [it for it in COMPARED if getattr(made, it) != row[it]]
        if made is not None and not row["author_is_rules"] and made.author_id != row["author_id"]:
            columns.append("author_id")
        if columns:
            found.append({"payment_intent": row["payment_intent"], "columns": ", ".join(columns)})
    return found


CLAIMS = [
    DonationClaim(
        name="donations_add_up",
        description="Net is received less refunded less disputed, never below 0, and 0 of what is not paid.",
        breaking=lambda postgres, _: postgres.read("community_unbalanced_donations"),
    ),
    DonationClaim(
        name="donations_are_what_their_facts_make",
        description="Every donation of the days that are built is what the states of Stripe's objects make of it.",
        breaking=differing,
    ),
    DonationClaim(
        name="donations_have_authors",
        description="Live donations of the last 30 days reach an author: their metadata, or their rule, names one.",
        breaking=lambda postgres, _: postgres.read("community_unattributed_donations"),
        warns=True,
    ),
]


def _checks(claims: Sequence[DonationClaim]) -> dg.AssetChecksDefinition:
    key = dg.AssetKey(list(DONATIONS.asset_key))
    specs = [dg.AssetCheckSpec(it.name, asset=key, description=it.description) for it in claims]

    @dg.multi_asset_check(name="donations_checks", specs=specs, can_subset=True, retry_policy=RETRY_POLICY)
    def run_claims(
        context: dg.AssetCheckExecutionContext, postgres: dg.ResourceParam[Postgres]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {check.name for check in context.selected_asset_check_keys}
        today = utc_now().date()
        window = tagged_window(context.run.tags, DAILY) or Window.of_days(today - timedelta(days=CHECKED_DAYS), today)
        with log_context(context, DONATIONS), explained_failures():
            for it in claims:
                if it.name in selected:
                    yield _outcome(it, it.breaking(postgres, window))

    return run_claims


def _outcome(claim: DonationClaim, rows: Sequence[Row]) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"rows_breaking": len(rows), **examples(DONATIONS, rows)}
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(list(DONATIONS.asset_key)),
        check_name=claim.name,
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN if claim.warns else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


CHECKS = [_checks(CLAIMS)]
