"""What `demo` and `backfill` build, in which order. Imports Dagster late: the environment must be complete before it."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from ingestion_pipeline.orchestration.runs import Outcome

LOOKED_BACK_DAYS = 365
DAYS_PER_RUN = 366


def demo_windows(settings: Settings, *, days: int | None) -> list[Window]:
    """The spans of days that the demo builds.

    Where the files have bars; else the last `days` days; without `days` every partition that the mock can fill at no cost,
    or the lookback of a provider that counts our requests.
    """
    if settings.ingestion_provider == "file":
        from ingestion_pipeline.providers.file import FileProvider

        return FileProvider(settings.ingestion_file_path).coverage(_file_markets(settings))
    today = utc_now().date()
    if days is None and settings.ingestion_provider == "mock":
        return [Window.of_days(settings.ingestion_first_day, today)]
    first = today - timedelta(days=(days or settings.ingestion_lookback_days) - 1)
    return [Window.of_days(max(first, settings.ingestion_first_day), today)]


def demo_environment(settings: Settings, windows: list[Window]) -> dict[str, str]:
    """The settings that the demo needs beyond the user's own: what lies in the files."""
    if settings.ingestion_provider != "file":
        return {}
    return {
        "INGESTION_PROVIDER": "file",
        "INGESTION_FILE_PATH": str(settings.ingestion_file_path),
        "INGESTION_MARKETS": ",".join(_file_markets(settings)),
        "INGESTION_FIRST_DAY": min(window.first_day for window in windows).isoformat(),
    }


def run_demo(windows: list[Window], *, tell: Callable[[str], None]) -> "Outcome":
    """Builds every market asset: bars and what derives from them over `windows`, weeks, a snapshot."""
    import dagster as dg

    from ingestion_pipeline.definitions import defs
    from ingestion_pipeline.orchestration.runs import Outcome, backfill, run_job

    outcome = Outcome()
    with dg.DagsterInstance.get() as instance:
        for name in ("market_daily_job", "market_weekly_job"):
            job = defs.resolve_job_def(name)
            for window in windows:
                tell(f"{name}: {window.first_day} to {window.last_day} …")
                is_built = backfill(
                    job,
                    instance,
                    outcome,
                    window=window,
                    per_run=DAYS_PER_RUN,
                    again=True,
                    on_range=lambda first, last, _: tell(f"  {first} to {last} built"),
                )
                if not is_built:
                    return outcome
        tell("market_snapshots_job …")
        run_job(defs.resolve_job_def("market_snapshots_job"), instance, outcome)
    return outcome


def run_backfill(window: Window, *, again: bool, days_per_run: int, console: Console) -> "Outcome":
    """Builds the days and weeks of `window`, then again the later days whose statistics look back on it."""
    import dagster as dg

    from ingestion_pipeline.definitions import defs
    from ingestion_pipeline.orchestration.runs import Outcome, backfill, outdated

    outcome = Outcome()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeElapsedColumn(),
    )
    with dg.DagsterInstance.get() as instance, Progress(*columns, console=console) as progress:

        def run(name: str, days: Window, *, again: bool) -> bool:
            task = progress.add_task(name, total=len(days.days()))

            def advance(first: date, last: date, was_built: bool) -> None:  # noqa: FBT001
                progress.advance(task, (last - first).days + 1)
                if not console.is_terminal:
                    console.print(f"{name}: {first} to {last} built{' before' if was_built else ''}")

            return backfill(
                defs.resolve_job_def(name),
                instance,
                outcome,
                window=days,
                per_run=days_per_run,
                again=again,
                on_range=advance,
            )

        if run("market_daily_job", window, again=again) and run("market_weekly_job", window, again=again):
            job = defs.resolve_job_def("market_lookback_job")
            source = dg.AssetKey(["market", "ohlc_daily"])
            later = outdated(job, instance, source=source, window=window, days=LOOKED_BACK_DAYS)
            if later is not None:
                run("market_lookback_job", later, again=True)
    return outcome


def _file_markets(settings: Settings) -> list[str]:
    """INGESTION_MARKETS where the user set it, else every symbol in the files."""
    if "ingestion_markets" in settings.model_fields_set:
        return list(settings.ingestion_markets)
    from ingestion_pipeline.providers.file import FileProvider

    return FileProvider(settings.ingestion_file_path).symbols()
