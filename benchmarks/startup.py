"""Start-up: `up` from stopped to a UI that has loaded the code, importing definitions.py, one trivial run, memory.

Figures without a target or a peer, written down to be noticed when they grow. The first start creates the embedded
database; the others find it. A run is market_snapshots_job, launched through the UI's GraphQL, queued, and started by
the daemon in a process of its own.
"""

import statistics
import subprocess
import sys
import tempfile
from functools import partial

from benchmarks._measures import PROJECT_ROOT, seconds
from benchmarks._stack import Stack, environment_of, stack

IMPORTS, STARTS, RUNS = 5, 3, 5
JOB = "market_snapshots_job"


def import_seconds(code: str, *, times: int) -> float:
    """Median of a fresh Python that runs `code`; the first warms the disk's cache."""
    run = partial(subprocess.run, [sys.executable, "-W", "ignore", "-c", code], check=True, cwd=PROJECT_ROOT)
    return statistics.median([seconds(run) for _ in range(times + 1)][1:])


def run_seconds(running: Stack, *, times: int) -> float:
    """Median from the launch to the success of one run."""
    return statistics.median([seconds(lambda: running.wait(running.launch(JOB))) for _ in range(times)])


def main(imports: int = IMPORTS, starts: int = STARTS, runs: int = RUNS) -> None:
    bare = import_seconds("pass", times=imports)
    framework = import_seconds("import dagster", times=imports)
    whole = import_seconds("import ingestion_pipeline.definitions", times=imports)
    print(
        f"import definitions.py      {whole:6.2f} s, of which Python {bare:.2f} s and dagster {framework - bare:.2f} s"
    )
    ready = []
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as home:
        environment = environment_of(home)
        for number in range(starts + 1):
            with stack(environment) as running:
                ready.append(running.ready_seconds)
                idle = dict(running.peak_mb)
                if number == starts:
                    first = seconds(lambda: running.wait(running.launch(JOB)))
                    run = run_seconds(running, times=runs)
    print(f"up, first time             {ready[0]:6.2f} s  (creates the database)")
    print(f"up, from stopped           {statistics.median(ready[1:]):6.2f} s  median of {starts}")
    print(f"run, launched in the UI    {run:6.2f} s  median of {runs}; the first one {first:.2f} s")
    for kind, meaning in (("proportional", "shared pages once"), ("resident", "shared pages in each process")):
        sums = f"{idle[kind]:.0f} MB until ready, {running.peak_mb[kind]:.0f} MB at most while runs run"
        print(f"memory, all processes      {sums}  ({meaning})")
    print("no peer, no ratio, no target: written down")


if __name__ == "__main__":
    main()
