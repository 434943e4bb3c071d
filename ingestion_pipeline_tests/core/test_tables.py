"""Table declarations: names that follow from one another, and mistakes that are refused when they are made."""

from typing import Any

import pytest

from ingestion_pipeline.core.tables import Column, Table


def make_table(**over: Any) -> Table:
    columns = (Column("symbol", "text", "Symbol"), Column("day", "date", "Day"))
    return Table(**{"domain": "market", "name": "bars", "store": "lake", "columns": columns, "key": ("symbol",)} | over)


def test_key_path_and_qualified_name_say_the_same() -> None:
    """Who knows one of the three knows where the rows are."""
    table = make_table()
    assert (("market", "bars"), "market/bars", "market.bars") == (table.asset_key, table.path, table.qualified_name)


def test_column_names_keep_their_order() -> None:
    """Rows are written by position."""
    assert ("symbol", "day") == make_table().column_names


@pytest.mark.parametrize(
    "mistake",
    [
        {"key": ("nope",)},
        {"key": ()},
        {"partitioning": "daily", "partition_column": "nope"},
        {"partitioning": "daily"},
        {"partition_column": "day"},
        {"columns": (Column("symbol", "text", "Symbol"), Column("symbol", "text", "Again"))},
        {"store": "postgres", "as_of_column": "nope"},
        {"partitioning": "daily", "partition_column": "day", "as_of_column": "symbol"},
    ],
    ids=[
        "unknown key",
        "no key",
        "unknown partition",
        "no partition column",
        "no partitioning",
        "repeated column",
        "unknown time",
        "time that the lake does not know",
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused_by_name(mistake: dict[str, Any]) -> None:
    """When the module is imported, not when the first row is written."""
    with pytest.raises(ValueError, match=r"market\.bars"):
        make_table(**mistake)
