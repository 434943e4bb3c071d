"""What the UI shows of a materialization: counts, time range, a preview table, a small picture."""

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from ingestion_pipeline.core.tables import Table

if TYPE_CHECKING:
    import pandas as pd

PREVIEW_ROWS = 8
LONGEST_CELL = 100
LARGE = 1_000
PICTURE_WIDTH, PICTURE_HEIGHT, PICTURE_POINTS = 160, 32, 40
_MARKDOWN = re.compile(r"[\\|\[\]<`]")  # what would end a cell, or show a picture, a link, markup of a stranger


def materialized(
    context: dg.AssetExecutionContext,
    table: Table,
    *,
    rows: int | None = None,
    counts: Mapping[date, int] | None = None,
    sample: "pd.DataFrame | None" = None,
    extra: Mapping[str, Any] | None = None,
    checks: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """The result of an asset: how many rows, over what time, what they look like.

    Args:
        context: The asset's.
        table: Its declaration.
        rows: Rows written, for a table without partitions.
        counts: Rows per partition day, for one with partitions; each partition gets its own count, which the UI plots.
        sample: Rows of which the last few are shown.
        extra: More metadata.
        checks: What the asset itself found out, where its declaration names such checks.
    """
    metadata: dict[str, Any] = dict(extra or {})
    if counts is not None:
        rows = sum(counts.values())
        metadata["time_range"] = f"{min(counts)} to {max(counts)}" if counts else "no rows"
        for key in context.partition_keys:
            day_rows = counts.get(date.fromisoformat(key), 0)
            context.add_asset_metadata({"dagster/partition_row_count": day_rows}, partition_key=key)
    metadata["rows"] = rows or 0
    if sample is not None and len(sample):
        shown = sample[list(table.column_names)].tail(PREVIEW_ROWS)
        metadata["preview"] = dg.MetadataValue.md(preview(table, shown))
    return dg.MaterializeResult(metadata=metadata, check_results=checks)


def report_day(
    context: dg.AssetExecutionContext, day: date, *, rows: int | None = None, read_to: int | None = None
) -> None:
    """Records at once that the step has changed a day, whether or not it was asked for it.

    Args:
        context: The asset's.
        day: One of its partitions.
        rows: How many it has now.
        read_to: The place among Dagster's events up to which what the day is made of was read (`newest_place`); None of
            assets that read no other ones.
    """
    context.log_event(
        dg.AssetMaterialization(
            context.asset_key,
            partition=day.isoformat(),
            metadata={} if rows is None else {"dagster/partition_row_count": rows},
            tags={} if read_to is None else {DATA_VERSION_TAG: str(read_to)},
        )
    )


def preview(table: Table, rows: "pd.DataFrame") -> str:
    """Rows of `table`, or about it, as a Markdown table without personal columns; numbers are shortened for reading."""
    frame = rows[[name for name in rows.columns if name not in table.personal]]
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)


def picture(title: str, values: Sequence[float]) -> dg.MarkdownMetadataValue:
    """A line chart small enough (below 700 bytes) that the UI draws it inside the metadata table."""
    line = "".join(_points(values))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PICTURE_WIDTH}" height="{PICTURE_HEIGHT}">'
        f'<path d="{line}" fill="none" stroke="#4f43dd"/></svg>'
    )
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")


def _points(values: Sequence[float]) -> list[str]:
    step = max(1, -(-len(values) // PICTURE_POINTS))
    kept = [*values[:-1:step], values[-1]] if len(values) > 1 else [*values, *values]
    low, high = min(kept), max(kept)
    x = PICTURE_WIDTH / (len(kept) - 1)
    y = (PICTURE_HEIGHT - 2) / ((high - low) or 1)
    return [
        f"{'L' if i else 'M'}{i * x:.0f} {PICTURE_HEIGHT - 1 - (value - low) * y:.0f}" for i, value in enumerate(kept)
    ]


def _cell(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT differ from themselves
        return ""
    if isinstance(value, datetime) and value.tzinfo is None:
        return str(value.date())  # our instants have a time zone: this is a day, as pandas has it
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= LARGE else f"{value:.6g}"
    text = " ".join(str(value).split()).removesuffix("+00:00")
    shown = text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
    return _MARKDOWN.sub(r"\\\g<0>", shown)
