"""Runs the real definitions in a test: the same jobs, assets and checks, over the test's own stores."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import pandas as pd

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.orchestration.partitions import range_tags
from ingestion_pipeline.providers.base import MarketDataProvider
from ingestion_pipeline.providers.exchange_rates import ExchangeRatesFile
from ingestion_pipeline.providers.fred import FredProvider
from ingestion_pipeline.providers.mock import MockProvider
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import Cache, MemoryCache
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres


@dataclass
class Pipeline:
    settings: Settings
    postgres: Postgres
    lake: Lake
    instance: dg.DagsterInstance
    provider: MarketDataProvider = field(default_factory=MockProvider)
    fred: FredProvider | None = None
    rates_file: ExchangeRatesFile | None = None
    cache: Cache = field(default_factory=MemoryCache)

    def run(self, job: str, first: date | None = None, last: date | None = None) -> dg.ExecuteInProcessResult:
        """Runs a job of the code location over the partitions `first` to `last`."""
        tags = range_tags(first, last or first) if first else {}
        definition: Any = defs.resolve_job_def(job)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return definition.execute_in_process(
            instance=self.instance, tags=tags, resources=self.resources, run_config=quiet, raise_on_error=False
        )

    def materialize(self, asset: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
        """Materializes one asset without partitions by itself, as from its page in the UI."""
        return dg.materialize([asset], instance=self.instance, resources=self.resources, raise_on_error=False)

    @property
    def resources(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "postgres": self.postgres,
            "lake": self.lake,
            "cache": self.cache,
            "provider": self.provider,
            "fred": self.fred,
            "rates_file": self.rates_file,
        }

    def failure(self, result: dg.ExecuteInProcessResult) -> dg.Failure | Any:
        """What the first failed step said: `description` and `metadata` as the UI shows them."""
        failed = next(event for event in result.all_events if event.event_type_value == "STEP_FAILURE")
        return failed.event_specific_data.user_failure_data  # type: ignore[union-attr]

    def problems(self, result: dg.ExecuteInProcessResult) -> list[str]:
        """The error texts of every failed step."""
        failed = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
        return [str(event.event_specific_data.user_failure_data or event.event_specific_data.error) for event in failed]  # type: ignore[union-attr]

    def rows(self, table: Table, first: date | None = None, last: date | None = None) -> pd.DataFrame:
        """The stored rows of `table`, ordered by key."""
        window = Window.of_days(first or date(1999, 1, 1), last or first or date(2100, 1, 1))
        frame = (
            self.postgres.rows(table, window) if table.store == "postgres" else self.lake.read(table, window).execute()
        )
        return frame.sort_values(list(table.key)).reset_index(drop=True)
