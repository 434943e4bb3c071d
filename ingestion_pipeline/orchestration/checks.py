"""From claims about a table to Dagster asset checks: one step a table, one result a claim.

A claim is a function from the rows to those that break it. Here: running claims over the partitions of a run. The
claims themselves live in each domain's checks.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.metadata import preview
from ingestion_pipeline.orchestration.partitions import PARTITIONS, tagged_window
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 5
DAYS_PER_PART = 7


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`breaking` returns the rows (at least a few columns that name them) for which the claim is false.

    A claim that only warns leaves the run green; one that blocks keeps everything downstream from running.
    """

    name: str
    description: str
    breaking: Callable[["pd.DataFrame"], "pd.DataFrame"]
    warns: bool = False
    blocks: bool = False


def table_checks(table: Table, claims: Sequence[Claim], *, history_days: int = 0) -> dg.AssetChecksDefinition:
    """The checks of `table`. They see its rows in the partitions of the run, and `history_days` days before them."""
    key = dg.AssetKey(list(table.asset_key))
    specs = [
        dg.AssetCheckSpec(claim.name, asset=key, description=claim.description, blocking=claim.blocks)
        for claim in claims
    ]

    @dg.multi_asset_check(name=f"{table.name}_checks", specs=specs, can_subset=True, retry_policy=RETRY_POLICY)
    def run_claims(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        postgres: dg.ResourceParam[Postgres],
        lake: dg.ResourceParam[Lake],
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {check.name for check in context.selected_asset_check_keys}
        chosen = [claim for claim in claims if claim.name in selected]
        with log_context(context, table), explained_failures():
            window = _window(context, table, settings)
            yield from outcomes(table, chosen, _parts(table, window, history_days, postgres=postgres, lake=lake))

    return run_claims


def outcomes(table: Table, claims: Sequence[Claim], parts: "Iterator[pd.DataFrame]") -> Iterator[dg.AssetCheckResult]:
    """Judges each claim over all parts of the rows; a result tells how many rows break it and shows the first few."""
    broken: dict[str, list[pd.DataFrame]] = {claim.name: [] for claim in claims}
    rows = 0
    for part in parts:
        rows += len(part)
        for claim in claims:
            broken[claim.name].append(claim.breaking(part))
    for claim in claims:
        yield _outcome(table, claim, rows, [frame for frame in broken[claim.name] if len(frame)])


def examples(table: Table, rows: "pd.DataFrame | Sequence[Any]") -> dict[str, dg.MarkdownMetadataValue]:
    """Metadata of a check: the first of `rows`, a frame, mappings or dataclasses; nothing where there are none."""
    if not len(rows):
        return {}
    import pandas as pd

    shown = pd.DataFrame(rows[:SHOWN_ROWS])
    return {"examples": dg.MetadataValue.md(preview(table, shown))}


def _outcome(table: Table, claim: Claim, rows: int, broken: "list[pd.DataFrame]") -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"rows_checked": rows, "rows_breaking": sum(len(frame) for frame in broken)}
    if broken:
        metadata |= examples(table, broken[0])
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(list(table.asset_key)),
        check_name=claim.name,
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN if claim.warns else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def _window(context: dg.AssetCheckExecutionContext, table: Table, settings: Settings) -> Window:
    """The partitions of the run; the lookback when a check runs by itself."""
    partitions = PARTITIONS[table.partitioning]
    window = tagged_window(context.run.tags, partitions) if partitions else None
    if window is None:
        today = utc_now().date()
        window = Window.of_days(today - timedelta(days=settings.ingestion_lookback_days), today)
    return window


def _parts(
    table: Table, window: Window, history_days: int, *, postgres: Postgres, lake: Lake
) -> "Iterator[pd.DataFrame]":
    """The rows of `table`, a part at a time, each with the history that its claims need."""
    history = timedelta(days=history_days)
    if table.store == "postgres":
        for part in window.split(days=DAYS_PER_PART) if table.partition_column else [window]:
            yield postgres.rows(table, part.widened(before=history))
        return
    for part in lake.chunks(table, window):
        yield lake.read(table, part.widened(before=history)).execute()
