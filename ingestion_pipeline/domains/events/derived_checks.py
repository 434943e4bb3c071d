"""What must hold of the tables derived from events: claims about the rows of one, and two that compare tables."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.domains.events.tables import (
    ACTIVE_USERS,
    DAILY_ACTIVE_USERS,
    EVENT_AGGREGATIONS_DAILY,
    EVENT_AGGREGATIONS_HOURLY,
    EVENT_AGGREGATIONS_WEEKLY,
    FUNNELS,
    RETENTION_COHORTS,
)
from ingestion_pipeline.orchestration.checks import Claim, examples, table_checks
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.partitions import PARTITIONS, monday, tagged_window
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

BUCKETS = {
    EVENT_AGGREGATIONS_HOURLY.name: timedelta(hours=1),
    EVENT_AGGREGATIONS_DAILY.name: timedelta(days=1),
    EVENT_AGGREGATIONS_WEEKLY.name: timedelta(days=7),
}
COUNTS = ["event_count", "uncounted_count"]
TOLERANCE = 1e-9

_UNITS = {EVENT_AGGREGATIONS_DAILY.name: "day", EVENT_AGGREGATIONS_WEEKLY.name: "week"}
_UNEQUAL = """
select event_type, event_category, bucket_start, coarse.event_count, coarse.uncounted_count,
    fine.event_count as summed_event_count, fine.uncounted_count as summed_uncounted_count
from (select * from {coarse} where bucket_start >= %(start)s and bucket_start < %(end)s) as coarse
full join (
    select event_type, event_category, date_trunc(%(unit)s, bucket_start, 'UTC') as bucket_start,
        sum(event_count) as event_count, sum(uncounted_count) as uncounted_count
    from {fine} where bucket_start >= %(start)s and bucket_start < %(end)s
    group by 1, 2, 3
) as fine using (event_type, event_category, bucket_start)
where (coarse.event_count, coarse.uncounted_count) is distinct from (fine.event_count, fine.uncounted_count)
order by bucket_start, event_type, event_category
"""


def impossible_counts(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Buckets with more users or sessions than events, or without any event."""
    more = rows[["unique_users", "unique_sessions"]].max(axis=1) > rows["event_count"]
    return rows[more | (rows[COUNTS].sum(axis=1) == 0)]


def misplaced_events(rows: "pd.DataFrame", *, bucket: timedelta) -> "pd.DataFrame":
    """Buckets whose first and last event do not lie in them, in this order."""
    start, first, last = rows["bucket_start"], rows["first_event_at"], rows["last_event_at"]
    return rows[~((start <= first) & (first <= last) & (last < start + bucket))]


def impossible_properties(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Buckets with a property whose figures contradict each other or the number of events."""
    possible = [
        all(_is_possible(figures, count) for figures in properties.values())
        for properties, count in zip(rows["properties"], rows["event_count"], strict=True)
    ]
    return rows[[not it for it in possible]]


def repeated_users(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Days of users who have more than one row for them."""
    return rows[rows.duplicated(list(ACTIVE_USERS.key), keep=False)]


def _is_possible(figures: dict[str, Any], event_count: int) -> bool:
    low, middle, high, top = (figures[name] for name in ("min", "p50", "p95", "max"))
    slack = TOLERANCE * max(abs(low), abs(top), 1.0)
    mean = figures["sum"] / figures["count"] if figures["count"] else float("nan")
    ordered = low - slack <= middle <= high + slack <= top + 2 * slack
    return bool(1 <= figures["count"] <= event_count and ordered and low - slack <= mean <= top + slack)


def disordered_users(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Days on which more were new than active, or more active on the day than in seven or twenty-eight."""
    widening = ["new_users", "active_users", "active_users_7_days", "active_users_28_days"]
    return rows[(rows[widening].diff(axis=1).iloc[:, 1:] < 0).any(axis=1)]


def growing_steps(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Steps of a funnel that more users did than the step before."""
    ordered = rows.sort_values(["day", "funnel", "step"])
    return ordered[ordered.groupby(["day", "funnel"])["users"].diff() > 0]


def impossible_cohorts(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Cohorts of which more came back than there are, or not all were there in the first week."""
    is_first = rows["weeks_since"] == 0
    return rows[
        (rows["retained_users"] > rows["cohort_users"]) | (is_first & (rows["retained_users"] != rows["cohort_users"]))
    ]


def resized_cohorts(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Cohorts whose size differs from week to week."""
    sizes = rows.groupby("cohort_week")["cohort_users"].transform("nunique")
    return rows[sizes > 1]


def unequal_sums(postgres: Postgres, fine: Table, coarse: Table, window: Window) -> list[dict[str, Any]]:
    """Buckets of `coarse` that start in `window` and count other events than the buckets of `fine` in them."""
    statement = _UNEQUAL.format(fine=fine.qualified_name, coarse=coarse.qualified_name)
    parameters = {"start": window.start, "end": window.end, "unit": _UNITS[coarse.name]}
    with postgres.transaction() as connection:
        cursor = connection.execute(statement, parameters)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _aggregation_claims(table: Table) -> list[Claim]:
    return [
        Claim(
            name=f"{table.name}_have_possible_counts",
            description="Every bucket has an event, and not more users or sessions than events that count.",
            breaking=impossible_counts,
        ),
        Claim(
            name=f"{table.name}_hold_their_events",
            description="The first and the last event lie in the bucket.",
            breaking=lambda rows: misplaced_events(rows, bucket=BUCKETS[table.name]),
        ),
        Claim(
            name=f"{table.name}_have_possible_properties",
            description="Numeric properties have min ≤ p50 ≤ p95 ≤ max, the mean between, no more values than events.",
            breaking=impossible_properties,
        ),
    ]


def _sums_check(fine: Table, coarse: Table, claim: str) -> dg.AssetChecksDefinition:
    """Does `coarse` count as many events as `fine`? A warning: events may arrive between the two builds."""

    @dg.asset_check(
        asset=dg.AssetKey(list(coarse.asset_key)),
        name=f"{coarse.name}_{claim}",
        additional_deps=[dg.AssetKey(list(fine.asset_key))],
        description=f"Buckets that are over count as many events as those of {fine.path}.",
        retry_policy=RETRY_POLICY,
    )
    def compare(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        postgres: dg.ResourceParam[Postgres],
    ) -> dg.AssetCheckResult:
        with log_context(context, coarse), explained_failures():
            unequal = unequal_sums(postgres, fine, coarse, _ended(context, coarse, settings))
        metadata: dict[str, Any] = {"rows_breaking": len(unequal), **examples(coarse, unequal)}
        return dg.AssetCheckResult(passed=not unequal, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)

    return compare


def _ended(context: dg.AssetCheckExecutionContext, table: Table, settings: Settings) -> Window:
    """The partitions of the run, or of the lookback when a check runs by itself, without the running one."""
    partitions, today = PARTITIONS[table.partitioning], utc_now().date()
    window = tagged_window(context.run.tags, partitions) if partitions else None
    window = window or Window.of_days(today - timedelta(days=settings.ingestion_lookback_days), today)
    running = midnight(monday(today) if table.partitioning == "weekly" else today)
    return Window(min(window.start, running), min(window.end, running))


CHECKS: list[dg.AssetChecksDefinition] = [
    table_checks(EVENT_AGGREGATIONS_HOURLY, _aggregation_claims(EVENT_AGGREGATIONS_HOURLY)),
    table_checks(EVENT_AGGREGATIONS_DAILY, _aggregation_claims(EVENT_AGGREGATIONS_DAILY)),
    table_checks(EVENT_AGGREGATIONS_WEEKLY, _aggregation_claims(EVENT_AGGREGATIONS_WEEKLY)),
    _sums_check(EVENT_AGGREGATIONS_HOURLY, EVENT_AGGREGATIONS_DAILY, "equal_their_hours"),
    _sums_check(EVENT_AGGREGATIONS_DAILY, EVENT_AGGREGATIONS_WEEKLY, "equal_their_days"),
    table_checks(
        ACTIVE_USERS,
        [
            Claim(
                name="active_users_have_unique_keys",
                description="A user has one row a day.",
                breaking=repeated_users,
            )
        ],
    ),
    table_checks(
        DAILY_ACTIVE_USERS,
        [
            Claim(
                name="daily_active_users_widen",
                description="New users ≤ users of the day ≤ of 7 days ≤ of 28 days.",
                breaking=disordered_users,
            )
        ],
    ),
    table_checks(
        FUNNELS,
        [
            Claim(
                name="funnels_narrow",
                description="No step has more users than the one before it.",
                breaking=growing_steps,
            )
        ],
    ),
    table_checks(
        RETENTION_COHORTS,
        [
            Claim(
                name="retention_cohorts_hold_who_is_retained",
                description="Nobody is retained who is not in the cohort; in its own week everybody is.",
                breaking=impossible_cohorts,
            ),
            Claim(
                name="retention_cohorts_keep_their_size",
                description="A cohort has the same users in every week.",
                breaking=resized_cohorts,
            ),
        ],
        history_days=7,
    ),
]
