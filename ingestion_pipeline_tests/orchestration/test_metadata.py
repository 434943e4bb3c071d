"""What the UI shows of a materialization."""

import base64
import re
from dataclasses import replace
from datetime import UTC, date, datetime

import dagster as dg
import pandas as pd
import pytest

from ingestion_pipeline.core.tables import Column, Table
from ingestion_pipeline.orchestration.metadata import PREVIEW_ROWS, materialized, picture, preview
from ingestion_pipeline.orchestration.partitions import DAILY, range_tags

TOYS = Table(
    domain="toy",
    name="toys",
    store="lake",
    key=("toy",),
    partitioning="daily",
    partition_column="day",
    columns=(Column("toy", "text", "Name"), Column("day", "date", "UTC day")),
)


def run_over(first: date, last: date, **arguments: object) -> list[dg.AssetMaterialization]:
    @dg.asset(partitions_def=DAILY, backfill_policy=dg.BackfillPolicy.single_run())
    def toys(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return materialized(context, TOYS, **arguments)

    job = dg.Definitions([toys], jobs=[dg.define_asset_job("toy", [toys])]).resolve_job_def("toy")
    with dg.DagsterInstance.ephemeral() as instance:
        run = job.execute_in_process(instance=instance, tags=range_tags(first, last))
        return run.asset_materializations_for_node("toys")


def test_each_partition_has_its_own_count_and_the_run_their_sum() -> None:
    """A day without rows counts zero; it was built all the same."""
    first, last = date(2025, 3, 1), date(2025, 3, 3)
    found = run_over(first, last, counts={first: 5, last: 7})
    assert {"2025-03-01": 5, "2025-03-02": 0, "2025-03-03": 7} == {
        m.partition: m.metadata["dagster/partition_row_count"].value for m in found
    }
    assert {(12, "2025-03-01 to 2025-03-03")} == {
        (m.metadata["rows"].value, m.metadata["time_range"].value) for m in found
    }


def test_the_preview_shows_the_last_rows_in_the_order_of_the_table() -> None:
    """Columns that the table does not declare are left out."""
    frame = pd.DataFrame({"day": "2025-03-01", "extra": 1, "toy": [f"toy {i}" for i in range(20)]})
    (found,) = run_over(date(2025, 3, 1), date(2025, 3, 1), counts={}, sample=frame, extra={"gap_ratio": 0.5})
    lines = found.metadata["preview"].value.splitlines()
    assert "| toy | day |" == lines[0]
    assert [f"| toy {i} | 2025-03-01 |" for i in range(20 - PREVIEW_ROWS, 20)] == lines[2:]
    assert ("no rows", 0.5) == (found.metadata["time_range"].value, found.metadata["gap_ratio"].value)


def test_what_names_a_person_is_not_shown() -> None:
    """Of the table's rows, and of others about it: Dagster keeps what it shows."""
    owned = replace(TOYS, personal=frozenset({"toy"}))
    frame = pd.DataFrame({"toy": ["ada"], "day": ["2025-03-01"], "count": [3]})
    assert ["| day | count |", "| --- | --- |", "| 2025-03-01 | 3 |"] == preview(owned, frame).splitlines()


def test_no_rows_have_no_preview() -> None:
    """An empty table in the UI would say less than nothing."""
    (found,) = run_over(date(2025, 3, 1), date(2025, 3, 1), counts={}, sample=pd.DataFrame({"toy": [], "day": []}))
    assert "preview" not in found.metadata


def test_cells_are_short_and_cannot_break_the_table() -> None:
    """Numbers are rounded, undefined is empty, a bar in a text is escaped, UTC goes without saying; a day has no time."""
    frame = pd.DataFrame(
        {
            "ratio": [1 / 3, float("nan")],
            "text": ["a|b", None],
            "at": [datetime(2025, 3, 1, 12, tzinfo=UTC), pd.NaT],
            "count": [1_234_567, 2],
            "day": pd.to_datetime(["2025-03-01", "2025-03-02"]),
        }
    )
    assert preview(TOYS, frame).splitlines()[2:] == [
        "| 0.333333 | a\\|b | 2025-03-01 12:00:00 | 1234567 | 2025-03-01 |",
        "|  |  |  | 2 | 2025-03-02 |",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\n# b\r\n| --- |", r"a # b \| --- \|"),
        ("![seen](https://evil.example/p.png)", r"!\[seen\](https://evil.example/p.png)"),
        (r"\| <img src=x> `", r"\\\| \<img src=x> \`"),
        ("x" * 101, "x" * 99 + "…"),
    ],
)
def test_what_a_stranger_wrote_is_one_line_of_words(text: str, shown: str) -> None:
    """Ids of rules come from Stripe's metadata, and a check shows them to the operator."""
    assert f"| {shown} |" == preview(TOYS, pd.DataFrame({"text": [text]})).splitlines()[2]


def drawn(values: list[float]) -> list[tuple[float, float]]:
    text = picture("BTC-USD close", values).value
    svg = base64.b64decode(re.fullmatch(r"!\[BTC-USD close\]\(data:image/svg\+xml;base64,(.*)\)", text)[1]).decode()
    points = re.findall(r"[ML](\S+) ([\d.]+)", re.search(r' d="([^"]*)"', svg)[1])
    return [(float(x), float(y)) for x, y in points]


@pytest.mark.parametrize("values", [[1.0], [3.0, 3.0, 3.0], [float(i % 97) for i in range(100_000)], [1e-9, 1e12]])
def test_a_picture_is_small_and_stays_in_its_frame(values: list[float]) -> None:
    """It lives in an event row and in a table cell, whatever the values."""
    assert len(picture("BTC-USD close", values).value) < 700
    points = drawn(values)
    assert len(points) >= 2
    assert all(0 <= x <= 160 and 0 <= y <= 32 for x, y in points)


def test_a_picture_rises_with_its_values() -> None:
    """Time goes to the right, more is higher up, first and last value are there."""
    points = drawn([1.0, 2.0, 4.0])
    assert [0.0, 80.0, 160.0] == [x for x, _ in points]
    assert [31.0, 21.0, 1.0] == [y for _, y in points]
