"""The leaderboards as a table, and the words that name a board. docs/leaderboards.md."""

from datetime import timedelta
from typing import Literal

from ingestion_pipeline.core.tables import Column, Freshness, Table

Period = Literal["DAILY", "WEEKLY", "MONTHLY", "ALL_TIME"]
Kind = Literal["RULE", "AUTHOR"]
Scope = Literal["GLOBAL", "TAG", "MODEL"]

WEEK_DAYS, MONTH_DAYS = 7, 30
MOST_PLACES = 100
"""Rows of a board."""
MOST_SCOPE_VALUES = 200
"""Tags, and models, that have boards: those of the most rules."""
LABELLED_DAYS = 400
"""For so long the boards of tags and models are kept; the GLOBAL ones for ever."""

LEADERBOARD_SNAPSHOTS = Table(
    domain="community",
    name="leaderboard_snapshots",
    store="postgres",
    key=("day", "period", "kind", "scope", "scope_value", "rank"),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26)),
    personal=frozenset({"scope_value", "subject_id"}),
    columns=(
        Column("day", "date", "UTC day that the board's period ends with"),
        Column("period", "text", "DAILY, WEEKLY (7 days), MONTHLY (30 days), ALL_TIME"),
        Column("kind", "text", "What is ranked: RULE, AUTHOR"),
        Column("scope", "text", "GLOBAL, TAG, MODEL"),
        Column("scope_value", "text", "The tag or the model; empty for GLOBAL"),
        Column("rank", "integer", "Place, from 1 without gaps"),
        Column("subject_id", "text", "The rule or the author"),
        Column("score", "float", "What is ranked by: points (DAILY, ALL_TIME) or the decayed sum (WEEKLY, MONTHLY)"),
        Column("points", "float", "Points of the period", "points"),
        Column("views", "integer", "Counted views of the period", "views"),
        Column("previous_rank", "integer", "Place on the newest earlier board; null if not on it", None, True),
        Column("rank_change", "integer", "Places won since then; null if new", "places", True),
    ),
)

TABLES = (LEADERBOARD_SNAPSHOTS,)
