"""What `demo` builds, in which order. Imports Dagster late: the environment must be complete before it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.settings import Provider, Settings

if TYPE_CHECKING:
    from ingestion_pipeline.orchestration.runs import Outcome

DAYS_PER_RUN = 366


def demo_choice(provider: Provider | None, path: Path | None) -> dict[str, str]:
    """The settings that the options stand for: a folder can only be read by the provider `file`."""
    if path is None:
        return {"INGESTION_PROVIDER": provider} if provider else {}
    if provider not in (None, "file"):
        raise ConfigurationError("--path", str(path), f"no --path with the provider {provider}, or --provider file")
    return {"INGESTION_PROVIDER": "file", "INGESTION_FILE_PATH": str(path.resolve())}


def demo_windows(settings: Settings, *, days: int | None) -> list[Window]:
    """The spans of days that the demo builds.

    Where the files have bars; else the last `days` days; without `days` every partition that the mock can fill at no
    cost, or the lookback of a provider that counts our requests.

    Raises:
        ConfigurationError: `days` of files, which have their own.
    """
    if settings.ingestion_provider == "file":
        if days is not None:
            raise ConfigurationError("--days", str(days), "no --days with the provider file: the files say which days")
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
    from ingestion_pipeline.definitions import defs
    from ingestion_pipeline.orchestration.instance import pooled_instance
    from ingestion_pipeline.orchestration.runs import Outcome, backfill, run_job

    outcome = Outcome()
    with pooled_instance() as instance:
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


def _file_markets(settings: Settings) -> list[str]:
    """INGESTION_MARKETS where the user set it, else every symbol in the files."""
    if "ingestion_markets" in settings.model_fields_set:
        return list(settings.ingestion_markets)
    from ingestion_pipeline.providers.file import FileProvider

    return FileProvider(settings.ingestion_file_path).symbols()
