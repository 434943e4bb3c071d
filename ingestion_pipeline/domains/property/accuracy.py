"""How true valuations turned out to be: the industry's figures of out-of-sample errors. Pure.

Definitions are in docs/property.md; a relative error is (estimate - price) / price.
"""

from datetime import date, timedelta

import pandas as pd

from ingestion_pipeline.domains.property.valuation_tables import ALL, PREDICTION_ACCURACY

WINDOW_DAYS = 365


def prediction_accuracy(predictions: pd.DataFrame, *, as_of: date, method_version: str) -> pd.DataFrame:
    """Figures per market and property type, per market, and of all.

    Args:
        predictions: `market_slug`, `property_type`, `valuation_date`, `estimate_usd` (NaN: none), `sale_price_usd` of
            sales valued out of sample, by one method. Those outside the window of WINDOW_DAYS that ends with `as_of`
            are not looked at.
        as_of: Last day of the window.
        method_version: That method.

    Returns:
        Rows of property/prediction_accuracy; none where no sale was valued.
    """
    days = pd.to_datetime(predictions["valuation_date"])
    is_recent = (days > pd.Timestamp(as_of - timedelta(days=WINDOW_DAYS))) & (days <= pd.Timestamp(as_of))
    recent = predictions[is_recent]
    levels = (recent, recent.assign(property_type=ALL), recent.assign(property_type=ALL, market_slug=ALL))
    # a market or type that is itself called `all` gives way to what the word stands for
    figures = {
        (market, kind): _figures(rows) | {"market_slug": market, "property_type": kind}
        for level in levels
        for (market, kind), rows in level.groupby(["market_slug", "property_type"])
    }
    fixed = {"as_of_date": as_of, "method_version": method_version, "window_days": WINDOW_DAYS}
    return pd.DataFrame([row | fixed for row in figures.values()], columns=list(PREDICTION_ACCURACY.column_names))


def _figures(predictions: pd.DataFrame) -> dict[str, float | int]:
    errors = (predictions["estimate_usd"] / predictions["sale_price_usd"] - 1).dropna()
    sizes, has_errors = errors.abs(), len(errors) > 0
    return {
        "prediction_count": len(predictions),
        "valued_count": len(errors),
        "mdape_ratio": sizes.median(),
        "ppe10_ratio": (sizes <= 0.10).mean() if has_errors else float("nan"),  # noqa: PLR2004 - the figure's name
        "ppe20_ratio": (sizes <= 0.20).mean() if has_errors else float("nan"),  # noqa: PLR2004
        "bias_ratio": errors.median(),
        "error_stddev_ratio": errors.std(ddof=1),
    }
