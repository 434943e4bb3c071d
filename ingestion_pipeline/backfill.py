"""What `backfill` builds, in which order. Imports Dagster late: the environment must be complete before it."""

from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingestion_pipeline.core.windows import Window

if TYPE_CHECKING:
    import dagster as dg

    from ingestion_pipeline.orchestration.runs import Outcome


def run_backfill(
    window: Window, *, again: bool, days_per_run: int, console: Console, now: datetime | None = None
) -> "Outcome":
    """Builds the days and weeks of `window`, then again what looks back on them or is otherwise older than its source.

    Args:
        window: Whole days.
        again: Build also what is settled.
        days_per_run: Partitions in one run.
        console: Shows the progress; without a terminal a line for each range.
        now: Says which partitions have ended; the clock's by default.
    """
    from ingestion_pipeline.definitions import defs
    from ingestion_pipeline.orchestration.instance import pooled_instance
    from ingestion_pipeline.orchestration.partitions import partitions_of
    from ingestion_pipeline.orchestration.runs import Outcome, backfill, outdated_spans, run_spans

    outcome = Outcome()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("partitions"),
        TimeElapsedColumn(),
    )
    with pooled_instance() as instance, Progress(*columns, console=console) as progress:

        def told(job: "dg.JobDefinition", ranges: list[tuple[date, date]]) -> Callable[[date, date, bool], None]:
            """What is called after each range of `ranges`."""
            partitions: Any = job.partitions_def
            task = progress.add_task(job.name, total=sum(len(partitions_of(partitions, *it)) for it in ranges))

            def advance(first: date, last: date, was_built: bool) -> None:  # noqa: FBT001
                progress.advance(task, len(partitions_of(partitions, first, last)))
                if not console.is_terminal:
                    console.print(f"{job.name}: {first} to {last} built{' before' if was_built else ''}")

            return advance

        for name in ("market_daily_job", "market_weekly_job"):
            job = defs.resolve_job_def(name)
            is_built = backfill(
                job,
                instance,
                outcome,
                window=window,
                per_run=days_per_run,
                again=again,
                on_range=told(job, [(window.first_day, window.last_day)]),
                now=now,
            )
            if not is_built:
                return outcome
        job = defs.resolve_job_def("market_lookback_job")
        if later := outdated_spans(job, instance, since=window.first_day, per_run=days_per_run):
            run_spans(job, instance, outcome, later, on_range=told(job, later))
    return outcome
