"""The dashboard and the scrape configuration in deploy/grafana ask for what /metrics gives."""

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from ingestion_pipeline.domains.operations.metrics_routes import ACCESS, HELP
from ingestion_pipeline.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
SUFFIXES = ("_total", "_bucket", "_count", "_sum")
WORDS = {"histogram_quantile", "increase", "rate", "sum", "max", "by", "or", "le"}
LABELS = {
    "asset",
    "event_type",
    "method",
    "outcome",
    "path",
    "provider",
    "queue",
    "service",
    "source",
    "state",
    "status",
}
LABELS |= {"trigger"}
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}


@dataclass(frozen=True)
class Series:
    """A series of PromQL, or none; `|` is its `or`, which Python binds as loosely beside `+`, `*` and `/`."""

    value: float | None

    def __or__(self, other: "Series") -> "Series":
        return other if self.value is None else self

    def __add__(self, other: "Series") -> "Series":
        return Series(None if self.value is None or other.value is None else self.value + other.value)

    def __mul__(self, factor: float) -> "Series":
        return Series(None if self.value is None else self.value * factor)

    def __truediv__(self, other: "Series") -> "Series":
        return Series(None if self.value is None or other.value is None else self.value / other.value)


def names(expression: str) -> set[str]:
    """The metrics that a PromQL expression asks for."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    found = set(re.findall(r"[a-z_]{2,}", bare)) - WORDS - LABELS
    return {next((name.removesuffix(it) for it in SUFFIXES if name.endswith(it)), name) for name in found}


def written() -> set[str]:
    """Every name that the package measures under, counters without their ending."""
    text = "\n".join(path.read_text() for path in (PROJECT_ROOT / "ingestion_pipeline").rglob("*.py"))
    found = re.findall(r'metrics\.(?:counter|gauge|histogram)\(\s*f?"([^"]+)"', text)
    return {name.removesuffix("_total").replace("{outcome}", "success").replace("{found.how}", "hit") for name in found}


@pytest.mark.parametrize("title", sorted(PANELS))
def test_a_panel_asks_for_metrics_that_exist(title: str) -> None:
    """A renamed metric would leave it empty without a word."""
    known = written() | set(HELP) | {"cache_miss", "cache_stale", "ingestion_failure"}
    asked = set().union(*(names(target["expr"]) for target in PANELS[title]["targets"]))
    assert asked
    assert asked <= known


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"hit": 3.0, "miss": 1.0, "stale": 4.0}, 0.375),
        ({"miss": 2.0}, 0.0),
        ({"stale": 2.0}, 0.0),
        ({"hit": 2.0}, 1.0),
    ],
)
def test_cache_hits_are_a_share_of_all_reads(rates: dict[str, float], expected: float) -> None:
    """A service that has only missed has 0, not no line; a stale value is no hit. Evaluated for one service."""
    (target,) = PANELS["Cache hits"]["targets"]
    found = re.sub(
        r"sum by \(service\) \(rate\(cache_(\w+)_total\[15m\]\)\)",
        lambda it: f"Series({rates.get(it[1])})",
        target["expr"],
    )
    assert "cache_" not in found
    assert expected == eval(found.replace(" or ", " | "), {"Series": Series}).value


def test_the_check_above_notices() -> None:
    """A metric that nobody writes."""
    assert {"nobody_writes_this"} == names('sum by (service) (rate(nobody_writes_this_total{state="x_y"}[5m]))')
    assert {"api_retry", "http_request_seconds", "ingestion_success"} < written()


def test_panels_do_not_lie_on_each_other() -> None:
    """Grafana would move them."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_scrape_asks_where_the_metrics_are_with_a_token() -> None:
    """The scope that the comment asks for is the endpoint's."""
    text = (FOLDER / "prometheus.yml").read_text()
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert "/metrics" == job["metrics_path"]
    assert {"credentials_file"} == set(job["authorization"])
    assert f"--scope {ACCESS[0]}" in text
