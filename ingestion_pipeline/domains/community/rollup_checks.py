"""What must hold of the daily rollups: claims about rows, and sums that must be those of the event history."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.domains.community.abuse import VIEW_CAP
from ingestion_pipeline.domains.community.rollup_days import first_rollable_day
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_EVENTS,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.domains.community.scoring import KINDS, VIEW, points
from ingestion_pipeline.orchestration.checks import Claim, examples, table_checks
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.partitions import DAILY, tagged_window
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ["views", "copies", "saves", "forks", "votes_up", "votes_down"]
TOLERANCE = 1e-9
_KINDS = ("views", "copies", "saves", "forks", "votes")
_ROLLED = """
select day, sum(views)::bigint, sum(copies)::bigint, sum(saves)::bigint, sum(forks)::bigint, sum(votes)::bigint
from (
    select day, views, copies, saves, forks, votes_up + votes_down as votes from community.rule_metrics_daily
    union all
    select day, views, copies, saves, forks, votes from community.excluded_events_daily
) as rolled
where day between %s and %s
group by day
"""
_UNEQUAL_EXCLUDED = """
select day, of_rules.events as of_rules, of_reasons.events as of_reasons
from (
    select day, sum(excluded_events)::bigint as events from community.rule_metrics_daily
    where day between %(first)s and %(last)s group by day having sum(excluded_events) > 0
) as of_rules
full join (
    select day, sum(events)::bigint as events from community.excluded_events_daily
    where day between %(first)s and %(last)s and reason <> 'no_rule' group by day
) as of_reasons using (day)
where of_rules.events is distinct from of_reasons.events
order by day
"""
_UNEQUAL_AUTHORS = """
select day, author_id
from (
    select day, author_id, rules, views, copies, saves, forks, votes_up, votes_down, points
    from community.author_metrics_daily where day between %(first)s and %(last)s and rules > 0
) as authors
full join (
    select
        day, author_id, count(*) as rules, sum(views) as views, sum(copies) as copies, sum(saves) as saves,
        sum(forks) as forks, sum(votes_up) as votes_up, sum(votes_down) as votes_down, sum(points) as points
    from community.rule_metrics_daily
    where day between %(first)s and %(last)s and author_id is not null
    group by day, author_id
) as sums using (day, author_id)
where
    row(authors.rules, authors.views, authors.copies, authors.saves, authors.forks, authors.votes_up,
        authors.votes_down, authors.points)
    is distinct from
    row(sums.rules, sums.views, sums.copies, sums.saves, sums.forks, sums.votes_up, sums.votes_down, sums.points)
order by day, author_id
"""
# one statement, so that both sides are of one moment
_UNEQUAL_DONATIONS = """
select
    differing.*,
    exists (select from community.dirty_days as dirty where dirty.day = differing.day)
    or exists (
        select from community.donations as recent
        where recent.paid_on = differing.day and recent.updated_at > clock_timestamp() - %(settling)s
    ) as is_explained
from (
    select day, author_id, rolled.donations, rolled.net, ledger.donations as of_ledger, ledger.net as net_of_ledger
    from (
        select day, author_id, donations, donations_net as net
        from community.author_metrics_daily where day between %(first)s and %(last)s and donations > 0
    ) as rolled
    full join (
        select day, author_id, sum(donations)::bigint as donations, jsonb_object_agg(currency, net::text) as net
        from (
            select paid_on as day, author_id, currency, count(*) as donations, sum(net) as net
            from community.donations
            where paid_on between %(first)s and %(last)s and author_id is not null and is_live and net > 0
            group by 1, 2, 3
        ) as sums
        group by day, author_id
    ) as ledger using (day, author_id)
    where (rolled.donations, rolled.net) is distinct from (ledger.donations, ledger.net)
) as differing
order by day, author_id
"""
SETTLING = timedelta(hours=2)
"""For so long a donation that has changed may not be rolled up yet: sensors ask every few minutes, and runs wait."""
Breaking = Callable[[Postgres, Lake, Window], Sequence[Mapping[str, Any]]]


def impossible_trends(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Rows whose trending score is beyond what their events were worth undiminished."""
    most = points(**{name: rows[name] for name in COUNTS if name != "votes_down"}, votes_down=-rows["votes_down"])
    return rows[rows["trending_score"].abs() > most * (1 + TOLERANCE) + TOLERANCE]


def impossible_exclusions(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Views beyond the cap, and repeated ones, that are no views; votes excluded as such that are none."""
    of_views, of_votes = rows["reason"].isin([VIEW_CAP, "repeat_view"]), rows["reason"].str.endswith("_vote")
    return rows[(of_views & (rows["views"] != rows["events"])) | (of_votes & (rows["votes"] != rows["events"]))]


def unequal_days(postgres: Postgres, lake: Lake, window: Window) -> list[dict[str, Any]]:
    """Days whose views, copies, saves, forks or votes, counted and excluded, are not the events of the history."""
    with postgres.transaction() as connection:
        rolled = {day: counts for day, *counts in connection.execute(_ROLLED, _days(window)).fetchall()}
    logged, none = _logged(lake, window), [0] * len(KINDS)
    unequal = []
    for day in sorted({*rolled, *logged}):
        counts = zip(_KINDS, rolled.get(day, none), logged.get(day, none), strict=True)
        wrong = {name: f"{ours} of {theirs}" for name, ours, theirs in counts if ours != theirs}
        if wrong:
            unequal.append({"day": day, **wrong})
    return unequal


def unequal_exclusions(postgres: Postgres, _: Lake, window: Window) -> list[dict[str, Any]]:
    """Days on which rules have other numbers of excluded events than reasons have."""
    return _broken(postgres, _UNEQUAL_EXCLUDED, window)


def unequal_authors(postgres: Postgres, _: Lake, window: Window) -> list[dict[str, Any]]:
    """Authors and days whose figures are not the sums of their rules."""
    return _broken(postgres, _UNEQUAL_AUTHORS, window)


def unequal_donations(postgres: Postgres, _: Lake, window: Window) -> list[dict[str, Any]]:
    """Authors and days whose donations are not the ledger's; `is_explained` while that is yet to be rolled up."""
    return _broken(postgres, _UNEQUAL_DONATIONS, window)


def _logged(lake: Lake, window: Window) -> dict[Any, list[int]]:
    """Events of rules in the history by day, in the order of the kinds."""
    events = lake.read(RULE_EVENTS, window)
    some = events.filter(events.event_type.isin(KINDS))
    found = lake.engine.to_pyarrow(some.group_by("day", "event_type").agg(events=some.count()))
    counts: dict[Any, list[int]] = {}
    for row in found.to_pylist():
        counts.setdefault(row["day"], [0] * len(KINDS))[KINDS.index(row["event_type"])] = row["events"]
    return counts


def _broken(postgres: Postgres, statement: str, window: Window) -> list[dict[str, Any]]:
    parameters = {"first": window.first_day, "last": window.last_day, "settling": SETTLING}
    with postgres.transaction() as connection:
        cursor = connection.execute(statement.encode(), parameters)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _days(window: Window) -> list[Any]:
    return [window.first_day, window.last_day]


def _sums_check(
    table: Table, claim: str, description: str, breaking: Breaking, *, warns: bool = False
) -> dg.AssetChecksDefinition:
    """A claim about sums over days that are over. It only warns where all that breaks it `is_explained`, or always: of
    two things that change in different transactions, one may have changed between the build and the check.
    """

    @dg.asset_check(
        asset=dg.AssetKey(list(table.asset_key)),
        name=f"{table.name}_{claim}",
        description=description,
        retry_policy=RETRY_POLICY,
    )
    def compare(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        postgres: dg.ResourceParam[Postgres],
        lake: dg.ResourceParam[Lake],
    ) -> dg.AssetCheckResult:
        with log_context(context, table), explained_failures():
            window = _ended(context, settings, postgres)
            broken = list(breaking(postgres, lake, window)) if window.start < window.end else []
        metadata: dict[str, Any] = {"rows_breaking": len(broken), **examples(table, broken)}
        is_known = warns or all(row.get("is_explained", False) for row in broken)
        severity = dg.AssetCheckSeverity.WARN if is_known else dg.AssetCheckSeverity.ERROR
        return dg.AssetCheckResult(passed=not broken, severity=severity, metadata=metadata)

    return compare


def _ended(context: dg.AssetCheckExecutionContext, settings: Settings, postgres: Postgres) -> Window:
    """The days of the run, or of the lookback, that are over and of which no event has expired."""
    today = utc_now().date()
    window = tagged_window(context.run.tags, DAILY)
    window = window or Window.of_days(today - timedelta(days=settings.ingestion_lookback_days), today)
    end = min(window.end, midnight(today))
    return Window(min(max(window.start, midnight(first_rollable_day(postgres))), end), end)


CHECKS: list[dg.AssetChecksDefinition] = [
    table_checks(
        RULE_METRICS_DAILY,
        [
            Claim(
                name="rule_metrics_daily_have_possible_trends",
                description="No trending score is beyond what the events were worth undiminished.",
                breaking=impossible_trends,
            )
        ],
    ),
    table_checks(
        AUTHOR_METRICS_DAILY,
        [
            Claim(
                name="author_metrics_daily_have_possible_trends",
                description="No trending score is beyond what the events were worth undiminished.",
                breaking=impossible_trends,
            )
        ],
    ),
    table_checks(
        EXCLUDED_EVENTS_DAILY,
        [
            Claim(
                name="excluded_events_daily_have_possible_reasons",
                description="Only views are beyond the cap or repeats; only votes are repeated, withdrawn, one's own.",
                breaking=impossible_exclusions,
            )
        ],
    ),
    _sums_check(
        RULE_METRICS_DAILY,
        "account_for_every_event",
        f"{VIEW}, COPY, SAVE, FORK and VOTE events of the history are as many as were counted and excluded.",
        unequal_days,
        warns=True,
    ),
    _sums_check(
        EXCLUDED_EVENTS_DAILY,
        "equal_those_of_rules",
        "Excluded events by reason are as many as by rule.",
        unequal_exclusions,
    ),
    _sums_check(
        AUTHOR_METRICS_DAILY,
        "equal_their_rules",
        "An author's figures are the sums of the figures of their rules.",
        unequal_authors,
        warns=True,
    ),
    _sums_check(
        AUTHOR_METRICS_DAILY,
        "equal_the_ledger",
        "An author's donations are those of community/donations, to the cent.",
        unequal_donations,
    ),
]
