"""Small charts as inline SVG, from numbers to text. Pure: no script, no style of their own, colours by CSS class.

A chart takes the width that it is given and says in words what it shows (`aria-label`). Numbers that are missing or not
finite are gaps.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from ingestion_pipeline.intake.status_sections import Html

WIDTH, HEIGHT = 120.0, 32.0
_MARGIN = 2.0
_TALLEST = 40.0
_BAR, _STEP = 5.0, 6.0
_STACK_HEIGHT = 8.0


def sparkline(points: Sequence[tuple[float, float | None]], *, label: str) -> Html:
    """A line through (x, y), x ascending; empty when fewer than two points are numbers. The last point is marked."""
    known = [(x, y) for x, y in points if y is not None and math.isfinite(x) and math.isfinite(y)]
    if len(known) <= 1:
        return Html("")
    xs, ys = [x for x, _ in known], [y for _, y in known]
    placed = [
        (_placed(x, min(xs), max(xs), WIDTH), HEIGHT - _placed(y, min(ys), max(ys), HEIGHT, flat=0.5)) for x, y in known
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    (first, _), (last_x, last_y) = placed[0], placed[-1]
    area = f"{first:.1f},{HEIGHT:g} {line} {last_x:.1f},{HEIGHT:g}"
    trend = "up" if ys[-1] > ys[0] else "down" if ys[-1] < ys[0] else "flat"
    return Html(
        f'<svg class="spark {trend}" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(label)}">'
        f'<polygon points="{area}"/><polyline points="{line}"/>'
        f'<circle cx="{last_x:.1f}" cy="{last_y:.1f}" r="2"/></svg>'
    )


def bars(values: Sequence[float], names: Sequence[str], *, label: str) -> Html:
    """One bar a value, 0 or more, with its name and value where one points at it; the highest fills the height."""
    if not values:
        return Html("")
    highest = max(values) or 1.0
    drawn = "".join(
        f"<g><title>{escape(name)}: {value:,.0f}</title>"
        f'<rect class="room" x="{place * _STEP:g}" y="0" width="{_STEP:g}" height="{_TALLEST:g}"/>'
        f"{_bar(place, value / highest)}</g>"
        for place, (value, name) in enumerate(zip(values, names, strict=True))
    )
    return Html(
        f'<svg class="bars" viewBox="0 0 {len(values) * _STEP:g} {_TALLEST:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{drawn}</svg>'
    )


def stack(counts: Mapping[str, int], *, label: str) -> Html:
    """One bar, divided as `counts` are; each part has its name as CSS class."""
    total = sum(counts.values())
    if not total:
        return Html("")
    drawn, x = "", 0.0
    for name, count in counts.items():
        width = WIDTH * count / total
        if count:
            drawn += (
                f'<rect class="{escape(name)}" x="{x:.1f}" y="0" width="{width:.1f}" height="{_STACK_HEIGHT:g}">'
                f"<title>{escape(name)}: {count}</title></rect>"
            )
        x += width
    return Html(
        f'<svg class="stack" viewBox="0 0 {WIDTH:g} {_STACK_HEIGHT:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{drawn}</svg>'
    )


def _bar(place: int, share: float) -> str:
    """Something is never drawn as nothing."""
    if share <= 0:
        return ""
    height = max(1.0, share * _TALLEST)
    return f'<rect x="{place * _STEP:g}" y="{_TALLEST - height:.1f}" width="{_BAR:g}" height="{height:.1f}"/>'


def _placed(value: float, lowest: float, highest: float, length: float, *, flat: float = 0.0) -> float:
    """Where `value` lies inside the margins of `length`; at `flat` of it when there is no range."""
    share = flat if highest == lowest else value / (highest - lowest) - lowest / (highest - lowest)
    return _MARGIN + share * (length - 2 * _MARGIN)
