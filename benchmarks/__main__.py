"""Runs every module of this folder, or the named ones, each in a process of its own: peaks of memory do not mix.

A benchmark is a module here with `main() -> None` that prints our figure, the peer's figure, the ratio and the target.
"""

import pkgutil
import subprocess
import sys
from collections.abc import Sequence

import benchmarks


def names() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]


def run(wanted: Sequence[str]) -> int:
    """Runs the benchmarks; returns the number that failed."""
    if unknown := sorted(set(wanted) - set(names())):
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted or names():
        print(f"\n== {name}", flush=True)
        code = f"from benchmarks.{name} import main; main()"
        failed += subprocess.run([sys.executable, "-c", code], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
