"""Sales and homes for tests of the valuation: one valid default each; a market with a known truth."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from ingestion_pipeline.domains.property.valuation import COMP_COLUMNS, SUBJECT_COLUMNS

TODAY = date(2026, 3, 2)
NO_INDEX = pd.DataFrame({"market_slug": [], "as_of_date": [], "value": []})


def make_home(**over: Any) -> dict[str, Any]:
    """A house of 2,000 square feet in Dallas with three bedrooms and two bathrooms."""
    home = {
        "subject_id": "home",
        "market_slug": "dallas",
        "property_type": "single_family",
        "living_area_sqft": 2000.0,
        "bedrooms": 3.0,
        "bathrooms": 2.0,
        "latitude": 32.78,
        "longitude": -96.80,
    }
    return home | over


def make_sale(**over: Any) -> dict[str, Any]:
    """The sale of such a house a month before TODAY for 400,000."""
    return make_home(subject_id="mls/1", sale_date=TODAY - timedelta(days=30), sale_price_usd=400_000.0) | over


def sales_frame(*sales: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(sales), columns=list(COMP_COLUMNS))


def homes_frame(*homes: dict[str, Any], on: date = TODAY) -> pd.DataFrame:
    return pd.DataFrame(list(homes), columns=list(SUBJECT_COLUMNS)).assign(valuation_date=on)


def index_frame(*points: tuple[date, float]) -> pd.DataFrame:
    return pd.DataFrame([("dallas", day, value) for day, value in points], columns=list(NO_INDEX.columns))


def true_market(count: int, *, noise: float = 0.10, growth: float = 0.06, seed: int = 1) -> pd.DataFrame:
    """Sales of four years before TODAY whose prices follow size, place and time, but for a lognormal `noise`."""
    random = np.random.default_rng(seed)
    area = random.uniform(800, 3500, count).round()
    age = random.integers(1, 1400, count)
    latitude, longitude = 32.78 + random.normal(0, 0.05, count), -96.80 + random.normal(0, 0.05, count)
    logs = (
        np.log(190 * area) + 2 * (latitude - 32.78) - 1.5 * (longitude + 96.80) - growth * age / 365
    ) + random.normal(0, noise, count)
    return pd.DataFrame(
        {
            "subject_id": [f"mls/{number}" for number in range(count)],
            "market_slug": "dallas",
            "property_type": "single_family",
            "living_area_sqft": area,
            "bedrooms": (area / 700).round(),
            "bathrooms": (area / 500).round() / 2,
            "latitude": latitude,
            "longitude": longitude,
            "sale_date": [TODAY - timedelta(days=int(days)) for days in age],
            "sale_price_usd": np.exp(logs),
        }
    )
