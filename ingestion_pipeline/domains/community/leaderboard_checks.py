"""What must hold of leaderboards: ranks without gaps, scores that descend, changes of rank, sums of the metrics."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.abuse import limits_of
from ingestion_pipeline.domains.community.leaderboard_tables import LEADERBOARD_SNAPSHOTS
from ingestion_pipeline.domains.community.rollup_tables import RULE_METRICS_DAILY
from ingestion_pipeline.orchestration.checks import Claim, examples, table_checks
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.partitions import DAILY, tagged_window
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.settings import Settings
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
    """Places whose former place is not the one on the board's newest earlier day, where that is among `rows`."""
    boards = rows[_BOARD].drop_duplicates().sort_values("day")
    former_days = boards.assign(former_day=boards.groupby(_BOARD[1:])["day"].shift()).dropna(subset="former_day")
    former = rows[[*_BOARD, "subject_id", "rank"]].rename(columns={"day": "former_day", "rank": "former"})
    joined = rows.merge(former_days, on=_BOARD).merge(former, on=["former_day", *_BOARD[1:], "subject_id"], how="left")
    same = joined["previous_rank"].fillna(0).astype(int) == joined["former"].fillna(0).astype(int)
    return joined[~same].drop(columns=["former", "former_day"])


def unequal_sums(postgres: Postgres, window: Window, *, half_life_hours: float) -> list[dict[str, Any]]:
    """Places on GLOBAL boards whose score, points or views are not what the metrics of their rules give."""
    days = window.days()[-MOST_DAYS:]
    if not days:
        return []
    given = {"first": days[0], "last": days[-1], "half_life_hours": half_life_hours}
    return postgres.read("community_leaderboard_differences", given)


@dg.asset_check(
    asset=dg.AssetKey(list(LEADERBOARD_SNAPSHOTS.asset_key)),
    name="leaderboard_snapshots_equal_their_metrics",
    additional_deps=[dg.AssetKey(list(RULE_METRICS_DAILY.asset_key))],
    description=f"Scores, points and views on GLOBAL boards are what metrics of rules give; {MOST_DAYS} newest days.",
    retry_policy=RETRY_POLICY,
)
def leaderboard_snapshots_equal_their_metrics(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
) -> dg.AssetCheckResult:
    with log_context(context, LEADERBOARD_SNAPSHOTS), explained_failures():
        today = utc_now().date()
        window = tagged_window(context.run.tags, DAILY) or Window.of_days(today, today)
        unequal = unequal_sums(postgres, window, half_life_hours=limits_of(settings).half_life_hours)
    metadata: dict[str, Any] = {"rows_breaking": len(unequal), **examples(LEADERBOARD_SNAPSHOTS, unequal)}
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
                description="The former place is the one on the board's newest earlier day.",
                breaking=wrong_changes,
                warns=True,
            ),
        ],
        history_days=1,
    ),
    leaderboard_snapshots_equal_their_metrics,
]
