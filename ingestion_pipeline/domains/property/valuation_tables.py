"""The stored tables of the valuation: what homes are thought to be worth, and how true that turned out to be."""

from datetime import timedelta

from ingestion_pipeline.core.tables import Column, Freshness, Table

ALL = "all"
"""Stands for every property type, or every market, in property/prediction_accuracy."""

_METHOD = Column("method_version", "text", "Version of the formula in docs/property.md")
_DAILY = Freshness(warn_after=timedelta(hours=26), fail_after=timedelta(hours=50))

PREDICTIONS = Table(
    domain="property",
    name="predictions",
    store="postgres",
    key=("prediction_id",),
    freshness=_DAILY,
    personal=frozenset({"subject_id", "subject"}),
    columns=(
        Column("prediction_id", "text", "Digest of subject, method and occasion: valued again, the row is replaced"),
        Column("market_slug", "text", "Market whose sales were compared"),
        Column("property_type", "text", "Property type whose sales were compared"),
        Column("subject_id", "text", "The home, as who asked names it; `<source>/<comp_id>` of a sale"),
        Column("subject", "json", "What was known of the home"),
        Column("valuation_date", "date", "Day of the value: only sales up to it count"),
        Column("estimate_usd", "float", "What it would have sold for; NULL without comparable sales", "usd", True),
        Column("low_usd", "float", "Lower end of the range in which four of five sell", "usd", True),
        Column("high_usd", "float", "Upper end of that range", "usd", True),
        Column("comp_count", "integer", "Comparable sales used", "sales"),
        Column("dispersion_ratio", "float", "Spread of their adjusted prices over the estimate", "ratio", True),
        Column("confidence_ratio", "float", "How much it can be trusted, 0 to 1; no probability", "ratio"),
        Column("filter_step", "integer", "How far the search was widened, 1 to 4", None, True),
        Column("time_adjustment", "text", "How prices were brought to the day: index, trend or none"),
        Column("is_out_of_sample", "boolean", "Values a sale as of the day before it"),
        Column("sale_price_usd", "float", "What it did sell for, where it is a sale", "usd", True),
        Column("subject_revision", "integer", "Revision of the comp that was valued", None, True),
        _METHOD,
        Column("made_at", "timestamp", "When it was computed", "UTC"),
        Column("job_id", "text", "Job that asked for it; the row goes with it", None, True),
    ),
)

PREDICTION_ACCURACY = Table(
    domain="property",
    name="prediction_accuracy",
    store="postgres",
    key=("as_of_date", "market_slug", "property_type", "method_version"),
    freshness=_DAILY,
    columns=(
        Column("as_of_date", "date", "Last day of the window, UTC"),
        Column("market_slug", "text", "Market; `all` is every one"),
        Column("property_type", "text", "Property type; `all` is every one"),
        _METHOD,
        Column("window_days", "integer", "Days of sales", "days"),
        Column("prediction_count", "integer", "Sales in the window that were valued out of sample", "sales"),
        Column("valued_count", "integer", "Those of them with an estimate, of which the figures are", "sales"),
        Column("mdape_ratio", "float", "Median absolute error over the price", "ratio", True),
        Column("ppe10_ratio", "float", "Share within 10 % of the price", "ratio", True),
        Column("ppe20_ratio", "float", "Share within 20 % of the price", "ratio", True),
        Column("bias_ratio", "float", "Median signed error over the price: above 0 is too high", "ratio", True),
        Column("error_stddev_ratio", "float", "Standard deviation (ddof = 1) of the errors", "ratio", True),
    ),
)

TABLES = (PREDICTIONS, PREDICTION_ACCURACY)
