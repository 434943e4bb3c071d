"""What every benchmark measures with: medians of rounds taken in turns, peaks of memory, one line per verdict.

Belongs here: measuring and its words. Does not belong here: what is measured. A module whose name starts with `_` is no
benchmark.
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(
    works: Mapping[str, Callable[[], object]], *, rounds: int, before: Callable[[], object] | None = None
) -> dict[str, float]:
    """Median seconds of each work; they run in turns, so that a busy moment of the machine falls on all.

    The first round warms up and does not count. `before` runs, unmeasured, ahead of every single work.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            if before:
                before()
            times[name].append(seconds(work))
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def peak_mb() -> float:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a child begins with its parent's on Linux
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def peak_mb_of(code: str) -> float:
    """The most memory that a fresh Python holds while it runs `code`."""
    script = f"{code}\nfrom benchmarks._measures import peak_mb\nprint(peak_mb())"
    run = [sys.executable, "-W", "ignore", "-c", script]
    return float(subprocess.run(run, check=True, capture_output=True, text=True, cwd=PROJECT_ROOT).stdout.split()[-1])


def faster(ratio: float, target: float | None = None) -> str:
    """How many times faster than the peer, and whether that was promised."""
    text = f"ratio {ratio:6.2f} x"
    return text if target is None else f"{text}  target at least {target:g} x  {_verdict(is_met=ratio >= target)}"


def share(ratio: float, target: float | None = None) -> str:
    """The share of the peer's rate, and whether that was promised."""
    text = f"ratio {ratio:6.0%}"
    return text if target is None else f"{text}  target at least {target:.0%}  {_verdict(is_met=ratio >= target)}"


def at_most(ratio: float, target: float | None = None) -> str:
    """How many times the peer's figure, and whether that is within what was promised."""
    text = f"ratio {ratio:6.2f} x"
    return text if target is None else f"{text}  target at most {target:g} x  {_verdict(is_met=ratio <= target)}"


def _verdict(*, is_met: bool) -> str:
    return "met" if is_met else "MISSED"
