"""What must hold of predictions and of their accuracy, one claim each: from rows to the rows that break it."""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.property.checks import recent_checks
from ingestion_pipeline.domains.property.valuation_tables import PREDICTION_ACCURACY, PREDICTIONS
from ingestion_pipeline.orchestration.checks import Claim

if TYPE_CHECKING:
    import pandas as pd

WORST_MDAPE_RATIO = 0.25
WORST_BIAS_RATIO = 0.10
SMALLEST_SAMPLE = 50
RECENT_DAYS = 2


def disordered_ranges(predictions: "pd.DataFrame") -> "pd.DataFrame":
    """Predictions with an estimate that are not 0 < low ≤ estimate ≤ high."""
    valued = predictions[predictions["comp_count"] > 0]
    low, estimate, high = valued["low_usd"], valued["estimate_usd"], valued["high_usd"]
    return valued[~((low > 0) & (low <= estimate) & (estimate <= high))]


def groundless_estimates(predictions: "pd.DataFrame") -> "pd.DataFrame":
    """Predictions without comparable sales that have an estimate or confidence, and the reverse."""
    has_comps = predictions["comp_count"] > 0
    has_estimate = predictions["estimate_usd"].notna() & (predictions["confidence_ratio"] > 0)
    says_nothing = predictions["estimate_usd"].isna() & (predictions["confidence_ratio"] == 0)
    return predictions[~((has_comps & has_estimate) | (~has_comps & says_nothing))]


def inaccurate(accuracy: "pd.DataFrame", *, today: date) -> "pd.DataFrame":
    """Recent figures of enough sales with a median error above 25 %, or a bias above 10 %."""
    import pandas as pd

    recent = accuracy[pd.to_datetime(accuracy["as_of_date"]) >= pd.Timestamp(today - timedelta(days=RECENT_DAYS))]
    enough = recent[recent["valued_count"] >= SMALLEST_SAMPLE]
    return enough[(enough["mdape_ratio"] > WORST_MDAPE_RATIO) | (enough["bias_ratio"].abs() > WORST_BIAS_RATIO)]


def disordered_shares(accuracy: "pd.DataFrame") -> "pd.DataFrame":
    """Figures that are not 0 ≤ PPE10 ≤ PPE20 ≤ 1, or of more sales than there are."""
    ppe10, ppe20 = accuracy["ppe10_ratio"].fillna(0), accuracy["ppe20_ratio"].fillna(0)
    is_ordered = (ppe10 >= 0) & (ppe10 <= ppe20) & (ppe20 <= 1)
    return accuracy[~(is_ordered & (accuracy["valued_count"] <= accuracy["prediction_count"]))]


CHECKS: list[dg.AssetChecksDefinition] = [
    recent_checks(
        PREDICTIONS,
        [
            Claim(
                name="predictions_lie_in_their_range",
                description="0 < low ≤ estimate ≤ high.",
                breaking=disordered_ranges,
            ),
            Claim(
                name="predictions_have_grounds",
                description="An estimate has comparable sales and some confidence; without them there is neither.",
                breaking=groundless_estimates,
            ),
        ],
        column="made_at",
    ),
    recent_checks(
        PREDICTION_ACCURACY,
        [
            Claim(
                name="prediction_accuracy_have_ordered_shares",
                description="0 ≤ PPE10 ≤ PPE20 ≤ 1, of no more sales than were valued.",
                breaking=disordered_shares,
            ),
            Claim(
                name="prediction_accuracy_are_good_enough",
                description="With 50 sales or more: a median error of at most 25 %, a bias of at most 10 %.",
                breaking=lambda rows: inaccurate(rows, today=utc_now().date()),
                warns=True,
            ),
        ],
        column="as_of_date",
    ),
]
