"""Charts as SVG: inside their frame whatever the numbers, and nothing where there is nothing to draw."""

import math
import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.intake.status_charts import HEIGHT, WIDTH, bars, sparkline, stack

NUMBERS = st.one_of(st.none(), st.floats(), st.floats(-1e300, 1e300), st.integers(-5, 5).map(float))


def corners(svg: str) -> list[tuple[float, float]]:
    """The points of the line."""
    line = re.search(r'<polyline points="([^"]*)"', svg)
    assert line, svg
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line[1].split())]


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), NUMBERS), max_size=50).map(lambda it: sorted(it, key=lambda p: p[0])))
def test_a_line_stays_inside_its_frame(points: list[tuple[float, float | None]]) -> None:
    """Also of gaps, infinities, one point, and numbers whose difference is too large for a float."""
    svg = sparkline(points, label="a")
    known = [y for _, y in points if y is not None and math.isfinite(y)]
    if len(known) < 2:
        assert "" == svg
        return
    ET.fromstring(svg)
    drawn = corners(svg)
    assert len(known) == len(drawn)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn)


def test_a_line_rises_with_its_numbers_and_time_is_to_scale() -> None:
    svg = sparkline([(0, 10.0), (90, 20.0), (100, 30.0)], label="a")
    (x1, y1), (x2, y2), (x3, y3) = corners(svg)
    assert y1 > y2 > y3
    assert x2 - x1 > 8 * (x3 - x2)
    assert 'class="spark up"' in svg
    assert 'class="spark down"' in sparkline([(0, 2.0), (1, 1.0)], label="a")
    assert 'class="spark flat"' in sparkline([(0, 1.0), (1, 1.0)], label="a")


def test_bars_are_as_high_as_their_share_and_say_their_value() -> None:
    """The least of something is still seen; nothing is not drawn."""
    svg = bars([0, 1, 500, 1000], ["<a>", "b", "c", "d"], label='"x" & y')
    groups = list(ET.fromstring(svg))
    drawn = [
        [float(it.get("height", "0")) for it in group if it.get("class") is None and it.get("height")]
        for group in groups
    ]
    assert [[], [1.0], [20.0], [40.0]] == drawn
    assert ["<a>: 0", "b: 1", "c: 500", "d: 1,000"] == [group[0].text for group in groups]
    assert "" == bars([], [], label="none")
    assert not re.search(r"<rect x=", bars([0.0, 0.0], ["a", "b"], label="a"))


def test_a_stack_is_divided_as_its_counts() -> None:
    svg = stack({"PASS": 3, "WARN": 0, "FAIL": 1}, label="4 assets")
    parts = [(it.get("class"), it.get("x"), it.get("width")) for it in ET.fromstring(svg)]
    assert [("PASS", "0.0", "90.0"), ("FAIL", "90.0", "30.0")] == parts
    assert "" == stack({"PASS": 0}, label="none")
