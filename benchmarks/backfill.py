"""365 days of every market asset from the mock provider, as `ingestion-pipeline backfill` does it, beside a run a day.

Ours: `run_backfill`, once with all days in one run and once with the command's own 90 days a run, weeks included. The
peer: the same jobs through the same call, one run a partition, for the last days and weeks of the year, scaled to
365 days and their weeks. Dagster itself would launch each of those runs in a process of its own; so a sample of them is
launched through a running `up`, two at a time as dagster.yaml allows.
"""

import io
import statistics
import tempfile
from datetime import date, timedelta
from functools import partial

from rich.console import Console

from benchmarks._measures import faster, peak_mb, seconds
from benchmarks._stack import environment_of, stack
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.settings import Settings, export
from ingestion_pipeline.storage.database import database

DAYS, SAMPLED_DAYS, SAMPLED_WEEKS, TARGET = 365, 8, 3, 10
DEFAULT_DAYS_PER_RUN = 90


def days_to_yesterday(days: int) -> Window:
    yesterday = utc_now().date() - timedelta(days=1)
    return Window.of_days(yesterday - timedelta(days=days - 1), yesterday)


def backfill_seconds(window: Window, *, days_per_run: int) -> float:
    """Wall clock of a backfill of every market asset, whatever has been built."""
    from ingestion_pipeline.backfill import run_backfill

    problems: list[str] = []

    def work() -> None:
        console = Console(file=io.StringIO())
        problems.extend(run_backfill(window, again=True, days_per_run=days_per_run, console=console).problems)

    spent = seconds(work)
    if problems:
        raise RuntimeError("; ".join(problems))
    return spent


def seconds_per_run(job: str, days: list[date]) -> float:
    """Median seconds of one in-process run for each partition."""
    import dagster as dg

    from ingestion_pipeline.definitions import defs
    from ingestion_pipeline.orchestration.partitions import range_tags
    from ingestion_pipeline.orchestration.runs import Outcome, run_job

    outcome, definition = Outcome(), defs.resolve_job_def(job)
    with dg.DagsterInstance.get() as instance:
        runs = [partial(run_job, definition, instance, outcome, tags=range_tags(day, day)) for day in days]
        spent = statistics.median(map(seconds, runs))
    if outcome.problems:
        raise RuntimeError("; ".join(outcome.problems))
    return spent


def launched_seconds_per_run(environment: dict[str, str], days: list[date]) -> float:
    """From the first launch of one run for each day to the last success, by the number of runs."""
    from ingestion_pipeline.orchestration.partitions import range_tags

    with stack(environment) as running:

        def work() -> None:
            for run_id in [running.launch("market_daily_job", range_tags(day, day)) for day in days]:
                running.wait(run_id)

        return seconds(work) / len(days)


def main(days: int = DAYS, sampled_days: int = SAMPLED_DAYS, sampled_weeks: int = SAMPLED_WEEKS) -> None:
    configure_logging("warning")
    window = days_to_yesterday(days)
    sample = window.days()[-sampled_days:]
    mondays = sorted({day - timedelta(days=day.weekday()) for day in window.days()})
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as home:
        environment = environment_of(home)
        with database(Settings.from_environment(environment)) as stores:
            export(environment | stores)
            whole = backfill_seconds(window, days_per_run=days)
            parts = backfill_seconds(window, days_per_run=DEFAULT_DAYS_PER_RUN)
            own_peak_mb = peak_mb()
            daily = seconds_per_run("market_daily_job", sample)
            weekly = seconds_per_run("market_weekly_job", mondays[-sampled_weeks:])
        launched = launched_seconds_per_run(environment, sample)
    peer = daily * days + weekly * len(mondays)
    print(f"{days} days and {len(mondays)} weeks of every market asset, mock provider")
    print(f"peer: one in-process run a partition, {daily:.2f} s a day, {weekly:.2f} s a week, scaled {peer:8.1f} s")
    print(f"ours: all days in one run             {whole:7.1f} s  {faster(peer / whole, TARGET)}")
    print(f"ours: {DEFAULT_DAYS_PER_RUN} days a run, the default    {parts:7.1f} s  {faster(peer / parts, TARGET)}")
    print(f"peer: launched, two at a time, {launched:.2f} s a day, scaled, weeks not counted {launched * days:8.1f} s")
    print(f"ours: all days in one run             {whole:7.1f} s  {faster(launched * days / whole, TARGET)}")
    print(f"peak memory of the backfilling process {own_peak_mb:,.0f} MB")


if __name__ == "__main__":
    main()
