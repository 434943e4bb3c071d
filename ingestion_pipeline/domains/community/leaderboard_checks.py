"""What must hold of leaderboards: ranks without gaps, scores that descend, changes of rank, sums of the metrics."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import DAY, Window
from ingestion_pipeline.domains.community.leaderboard_tables import LEADERBOARD_SNAPSHOTS
from ingestion_pipeline.domains.community.rollup_tables import RULE_METRICS_DAILY
from ingestion_pipeline.orchestration.checks import SHOWN_ROWS, Claim, table_checks
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.metadata import preview
from ingestion_pipeline.orchestration.partitions import DAILY, tagged_window
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

MOST_DAYS = 7
"""Newest days of a run whose sums are compared."""
_BOARD = ["day", "period", "kind", "scope", "scope_value"]


def misnumbered(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Places that do not number their board from 1 without gaps."""
    ordered = rows.sort_values([*_BOARD, "rank"])
    return ordered[ordered.groupby(_BOARD).cumcount() + 1 != ordered["rank"]]


def disordered(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Places with a higher score than the one before, or the same with more views, or with as many and a lesser id."""
    ordered = rows.sort_values([*_BOARD, "rank"])
    former = ordered.groupby(_BOARD)[["score", "views", "subject_id"]].shift()
    same_score = ordered["score"] == former["score"]
    same_views = same_score & (ordered["views"] == former["views"])
    breaks = (ordered["score"] > former["score"]) | (same_score & (ordered["views"] > former["views"]))
    # code points are in the order of the bytes in UTF-8
    breaks |= same_views & (ordered["subject_id"] <= former["subject_id"].fillna(""))
    return ordered[breaks]


def wrong_changes(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Places whose former place is not the one that the day before has, where that day is among `rows`."""
    import pandas as pd

    board = [*_BOARD, "subject_id"]
    days = pd.to_datetime(rows["day"])
    former = rows.assign(day=days + DAY)[[*board, "rank"]].rename(columns={"rank": "former"})
    joined = rows.assign(day=days).merge(former, on=board, how="left")
    known = joined["day"].isin(set(former["day"]))
    same = joined["previous_rank"].fillna(0).astype(int) == joined["former"].fillna(0).astype(int)
    return joined[known & ~same].drop(columns="former")


def unequal_sums(postgres: Postgres, window: Window) -> list[dict[str, Any]]:
    """Places on GLOBAL boards of rules whose points or views are not the sum of their metrics."""
    days = window.days()[-MOST_DAYS:]
    if not days:
        return []
    return postgres.read("community_leaderboard_differences", {"first": days[0], "last": days[-1]})


@dg.asset_check(
    asset=dg.AssetKey(list(LEADERBOARD_SNAPSHOTS.asset_key)),
    name="leaderboard_snapshots_equal_their_metrics",
    additional_deps=[dg.AssetKey(list(RULE_METRICS_DAILY.asset_key))],
    description=f"Points and views of rules on GLOBAL boards are the sums of their metrics; {MOST_DAYS} newest days.",
    retry_policy=RETRY_POLICY,
)
def leaderboard_snapshots_equal_their_metrics(
    context: dg.AssetCheckExecutionContext, postgres: dg.ResourceParam[Postgres]
) -> dg.AssetCheckResult:
    with log_context(context, LEADERBOARD_SNAPSHOTS), explained_failures():
        today = utc_now().date()
        unequal = unequal_sums(postgres, tagged_window(context.run.tags, DAILY) or Window.of_days(today, today))
    metadata: dict[str, Any] = {"rows_breaking": len(unequal)}
    if unequal:
        import pandas as pd

        metadata["examples"] = dg.MetadataValue.md(preview(pd.DataFrame(unequal[:SHOWN_ROWS])))
    # a warning: metrics may be built anew between the two
    return dg.AssetCheckResult(passed=not unequal, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


CHECKS: list[dg.AssetChecksDefinition] = [
    table_checks(
        LEADERBOARD_SNAPSHOTS,
        [
            Claim(
                name="leaderboard_snapshots_are_numbered",
                description="A board's ranks are 1 to n, without gaps.",
                breaking=misnumbered,
            ),
            Claim(
                name="leaderboard_snapshots_are_ordered",
                description="Scores descend; ties are broken by views, then by the subject's id.",
                breaking=disordered,
            ),
            Claim(
                name="leaderboard_snapshots_follow_the_day_before",
                description="The former place is the one of the snapshot of the day before.",
                breaking=wrong_changes,
                warns=True,
            ),
        ],
        history_days=1,
    ),
    leaderboard_snapshots_equal_their_metrics,
]
