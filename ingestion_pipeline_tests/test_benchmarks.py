"""Every benchmark runs, at a tiny size, and prints our figure, its peer, the ratio and the target. Never how fast."""

import pkgutil
import subprocess
import sys

import pytest

import benchmarks
from ingestion_pipeline.settings import PROJECT_ROOT, child_environment

TINY = {
    "backfill": ("days=2, sampled_days=1, sampled_weeks=1", {"ours", "peer", "ratio", "target"}),
    "comparisons": ("markets=20, rounds=1", {"kernel", "limit", "ratio", "target"}),
    "event_aggregations": (
        "events_per_day=5000, days=2, users=100, rounds=1, bucket=200, aggregated_days=3, queries=3",
        {"ours", "hand-written", "ratio", "target"},
    ),
    "event_intake": (
        "seconds=1, copy_rows=5000, soak_seconds=1, rounds=1",
        {"ours:", "limit:", "peer:", "ratio", "target"},
    ),
    "event_sync": ("events=2000, rounds=1, bloat_events=2000", {"ours:", "limit:", "ratio", "target"}),
    "health": ("seconds=1, rounds=1", {"ours:", "limit:", "ratio", "target"}),
    "job_drain": ("jobs=20", {"ours:", "peer:", "memory:", "ratio", "target"}),
    "jobs": ("jobs=20, workers=2, rounds=1", {"ours:", "peer:", "ratio", "target"}),
    "leaderboards": ("rules=50, days=3, history_days=5, rounds=1", {"ours:", "peer:", "ratio", "target"}),
    "ohlc": ("symbols=5, days=2, bars_per_day=90, rounds=1", {"ours", "hand-written", "pandas", "ratio", "target"}),
    "rollups": (
        "events_per_day=2000, days=2, rules=50, rounds=1, times=(2,)",
        {"ours", "hand-written", "ratio", "target"},
    ),
    "roi_statistics": ("symbols=10, sample_size=2, rounds=1, years=1", {"ours", "empyrical", "ratio", "target"}),
    "sales_reports": (
        "kdp_rows=200, d2d_rows=500, rounds=1",
        {"ours:", "peer:", "limit:", "openpyxl", "ratio", "target"},
    ),
    "startup": ("imports=1, starts=1, runs=1", {"import", "up,", "run,", "memory,", "target:"}),
    "webhooks": ("webhooks=1, tick_sizes=(1,), rounds=1", {"bare:", "ours:", "ratio", "target"}),
    "stripe_webhooks": ("events=100, requests_at_once=4, rounds=1", {"limit:", "ours:", "ratio", "target"}),
    "upsert": ("symbols=3, as_of_days=5, rounds=1", {"ours:", "limit:", "peer:", "ratio", "target"}),
}


def test_every_benchmark_has_a_tiny_size() -> None:
    """One that is added is run by the test below too."""
    names = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    assert {name for name in names if not name.startswith("_")} == set(TINY)


@pytest.mark.parametrize("name", sorted(TINY))
def test_benchmark_prints_figure_peer_ratio_and_target(name: str) -> None:
    """In a process of its own, as `python -m benchmarks` does it: Dagster reads its environment once."""
    arguments, words = TINY[name]
    done = subprocess.run(
        [sys.executable, "-c", f"from benchmarks.{name} import main; main({arguments})"],
        cwd=PROJECT_ROOT,
        env=child_environment({"PYTHONPATH": str(PROJECT_ROOT)}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert [] == [word for word in sorted(words) if word not in done.stdout], done.stdout
