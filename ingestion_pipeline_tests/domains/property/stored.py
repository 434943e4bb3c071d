"""Property rows in a test's database, as ingestion leaves them."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from ingestion_pipeline.domains.property.tables import COMPS, FUNDAMENTALS, FUNDAMENTALS_STALENESS, MACRO_OBSERVATIONS
from ingestion_pipeline.storage.postgres import Postgres

RECEIVED = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _store(postgres: Postgres, table: Any, rows: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
    unknown = dict.fromkeys(table.column_names)
    postgres.upsert(table, pd.DataFrame([{**unknown, **defaults, **row} for row in rows]).astype("object"))


def store_comps(postgres: Postgres, sales: pd.DataFrame, **over: Any) -> None:
    """Sales as tests of the valuation make them; `subject_id` is `<source>/<comp_id>`."""
    rows = []
    for sale in sales.to_dict("records"):
        source, _, comp_id = sale.pop("subject_id").partition("/")
        known = {name: None if pd.isna(value) else value for name, value in sale.items()}
        rows.append({**known, "source": source, "comp_id": comp_id, **over})
    fixed = {"revision": 1, "revised_at": RECEIVED, "received_at": RECEIVED, "provenance": json.dumps({"file": "x"})}
    _store(postgres, COMPS, rows, fixed)


def store_fundamentals(postgres: Postgres, market_slug: str, metric: str, *points: tuple[date, float]) -> None:
    fixed = {
        "market_slug": market_slug,
        "metric": metric,
        "unit": "usd",
        "source": "zillow",
        "revision": 1,
        "revised_at": RECEIVED,
        "received_at": RECEIVED,
        "provenance": "{}",
    }
    _store(postgres, FUNDAMENTALS, [{"as_of_date": day, "value": value} for day, value in points], fixed)


def store_staleness(postgres: Postgres, market_slug: str, day: date) -> None:
    fixed = {
        "market_slug": market_slug,
        "last_as_of_date": day,
        "last_received_at": RECEIVED,
        "age_days": 3,
        "max_age_days": 30,
        "is_stale": False,
        "metric_count": 1,
        "checked_at": RECEIVED,
    }
    _store(postgres, FUNDAMENTALS_STALENESS, [{}], fixed)


def store_macro(postgres: Postgres, series_id: str, *points: tuple[date, float | None], vintage: date) -> None:
    fixed = {
        "series_id": series_id,
        "vintage_date": vintage,
        "confirmed_date": vintage,
        "source": "FRED",
        "received_at": RECEIVED,
    }
    _store(postgres, MACRO_OBSERVATIONS, [{"observation_date": day, "value": value} for day, value in points], fixed)
