"""From stored sales to stored predictions and their accuracy. What a home is worth is valuation.py's to say.

Belongs here: which sales are read, what is written. Writing twice is writing once: the id of a prediction follows from
what it is of.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.domains.property.accuracy import WINDOW_DAYS, prediction_accuracy
from ingestion_pipeline.domains.property.valuation import (
    COMP_COLUMNS,
    LOOK_BACK_DAYS,
    METHOD_VERSION,
    SUBJECT_COLUMNS,
    valuations,
)
from ingestion_pipeline.domains.property.valuation_tables import PREDICTION_ACCURACY, PREDICTIONS
from ingestion_pipeline.storage.postgres import Postgres

ROWS_PER_PART = 5_000
_ID_DIGITS = 32
_KNOWN = ("property_type", "living_area_sqft", "bedrooms", "bathrooms", "latitude", "longitude", "address")
_INDEX_COLUMNS = ("market_slug", "as_of_date", "value")
_DAY = timedelta(days=1)
_WITHOUT_JOB = """
delete from property.predictions
where job_id is not null and job_id not in (select jobs.job_id::text from operations.jobs)
"""


def predict_new_sales(postgres: Postgres) -> Iterator[pd.DataFrame]:
    """Values every sale that is new or was corrected since, as of the day before it; yields what was stored, in parts.

    A sale is valued once: sales before it that become known later do not change what could be known.
    """
    for group in postgres.read("property_unvalued_sales", {"method_version": METHOD_VERSION}):
        after = group["first_sale_date"] - timedelta(days=LOOK_BACK_DAYS + 1)
        sales = sales_of(postgres, group["market_slug"], group["property_type"], after=after)
        index = value_index(postgres, group["market_slug"])
        new = sales[~sales["is_valued"]]
        for start in range(0, len(new), ROWS_PER_PART):
            part = new.iloc[start : start + ROWS_PER_PART]
            subjects = part.assign(valuation_date=[day - _DAY for day in part["sale_date"]])
            found = prediction_rows(subjects, sales, index, is_out_of_sample=True)
            postgres.upsert(PREDICTIONS, found)
            yield found


def predict(postgres: Postgres, market_slug: str, subjects: pd.DataFrame, *, on: date, job_id: str) -> pd.DataFrame:
    """Values homes of one market on the day `on` for a job; the rows that were stored, in the order of `subjects`.

    Args:
        postgres: Where sales are read and predictions written.
        market_slug: The market.
        subjects: `subject_id` and the columns of prediction_rows; what is unknown is NaN or None.
        on: The valuation date.
        job_id: The job that asks.
    """
    after = on - timedelta(days=LOOK_BACK_DAYS)
    kinds = subjects["property_type"].unique()
    sales = pd.concat([sales_of(postgres, market_slug, kind, after=after) for kind in kinds])
    subjects = subjects.assign(market_slug=market_slug, valuation_date=on)
    index = value_index(postgres, market_slug)
    found = prediction_rows(subjects, sales, index, is_out_of_sample=False, job_id=job_id)
    postgres.upsert(PREDICTIONS, found)
    return found


def remove_predictions_of_removed_jobs(postgres: Postgres) -> int:
    """What a job predicted is kept as long as the job is; returns how many predictions were removed."""
    with postgres.transaction() as connection:
        return connection.execute(_WITHOUT_JOB).rowcount


def measure_accuracy(postgres: Postgres, *, as_of: date) -> pd.DataFrame:
    """The accuracy of the sales in the year up to `as_of`; the rows that were stored."""
    after = as_of - timedelta(days=WINDOW_DAYS)
    valued = postgres.read("property_valued_sales", {"method_version": METHOD_VERSION, "after": after})
    columns = ["market_slug", "property_type", "valuation_date", "estimate_usd", "sale_price_usd"]
    predictions = pd.DataFrame(valued, columns=columns).astype({"estimate_usd": "float64", "sale_price_usd": "float64"})
    rows = prediction_accuracy(predictions, as_of=as_of, method_version=METHOD_VERSION)
    postgres.upsert(PREDICTION_ACCURACY, rows)
    return rows


def sales_of(postgres: Postgres, market_slug: str, property_type: str, *, after: date) -> pd.DataFrame:
    """The sales of one market and type after a day: COMP_COLUMNS, `address`, `revision` and `is_valued`."""
    given = {"market_slug": market_slug, "property_type": property_type, "after": after}
    rows = postgres.read("property_sales", {**given, "method_version": METHOD_VERSION})
    columns = [*COMP_COLUMNS, "address", "revision", "is_valued"]
    return pd.DataFrame(rows, columns=columns).astype({"is_valued": "bool"})


def value_index(postgres: Postgres, market_slug: str) -> pd.DataFrame:
    rows = postgres.read("property_value_index", {"market_slug": market_slug})
    return pd.DataFrame(rows, columns=list(_INDEX_COLUMNS))


def prediction_rows(
    subjects: pd.DataFrame,
    sales: pd.DataFrame,
    index: pd.DataFrame,
    *,
    is_out_of_sample: bool,
    job_id: str | None = None,
) -> pd.DataFrame:
    """Rows of property/predictions.

    Args:
        subjects: SUBJECT_COLUMNS, `valuation_date`, `address`, and `sale_date`, `sale_price_usd`, `revision` of sales.
        sales: As of sales_of.
        index: As of value_index.
        is_out_of_sample: The subjects are sales, valued as of the day before.
        job_id: The job that asks for them.
    """
    rows = pd.concat([subjects, valuations(subjects, sales, index)], axis="columns")
    occasion = job_id or "sale"
    extra = {
        "prediction_id": [_prediction_id(subject_id, occasion) for subject_id in rows["subject_id"]],
        "subject": [_as_json(subject) for subject in subjects.to_dict("records")],
        "is_out_of_sample": is_out_of_sample,
        "filter_step": _integers(rows["filter_step"]),
        "subject_revision": _integers(rows["revision"]) if "revision" in rows else None,
        "sale_price_usd": rows.get("sale_price_usd", float("nan")),
        "method_version": METHOD_VERSION,
        "made_at": utc_now(),
        "job_id": job_id,
    }
    return rows.assign(**extra)[list(PREDICTIONS.column_names)]


def subject_frame(subjects: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Homes as `predict` takes them; what a dictionary does not name is unknown."""
    columns = [*SUBJECT_COLUMNS, "address", "sale_date", "sale_price_usd", "revision", "list_price_usd"]
    return pd.DataFrame(subjects, columns=columns)


def _prediction_id(subject_id: str, occasion: str) -> str:
    return digest({"subject": subject_id, "method": METHOD_VERSION, "occasion": occasion})[:_ID_DIGITS]


def _integers(values: "pd.Series[Any]") -> list[int | None]:
    return [None if pd.isna(value) else int(value) for value in values]


def _as_json(subject: dict[str, Any]) -> str:
    names = (*_KNOWN, "sale_date", "sale_price_usd", "list_price_usd")
    known = {name: subject[name] for name in names if name in subject and not pd.isna(subject[name])}
    return json.dumps(known, default=str)
