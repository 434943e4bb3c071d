"""A copier that stops for good at one step of its work, to be killed there: every call is real, only one never ends.

Run as `python -c "…stopping.main()" <place> <PostgreSQL URL> <home> <when> <call> <which>`: it says `there` when it has
stopped `before` or `after` the call `which` (counted from 1) of that name.
"""

import itertools
import signal
import sys
from typing import Any, NoReturn

from ingestion_pipeline.domains.events.copies import copied_batches
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warehouses import s3_stage
from ingestion_pipeline_tests.warehouse.places import from_text

ROWS_PER_FILE = 5_000


class Stopping:
    """Passes everything on to `inner`, except that the call stops."""

    def __init__(self, inner: Any, *, when: str, call: str, which: int) -> None:
        self._inner, self._when, self._call, self._which = inner, when, call, which
        self._calls = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        return self._stop if name == self._call else getattr(self._inner, name)

    def _stop(self, *arguments: Any, **options: Any) -> Any:
        real = getattr(self._inner, self._call)
        if next(self._calls) < self._which:
            return real(*arguments, **options)
        if self._when == "before":
            return stop()
        if self._when == "within":  # the first request of many is answered, the others are not sent
            arguments = (iter([next(arguments[0])]), *arguments[1:])
        answer = real(*arguments, **options)
        if self._when == "within":
            list(answer)
        return stop()


def stop() -> NoReturn:
    sys.stdout.write("there\n")
    sys.stdout.flush()
    while True:
        signal.pause()


def main() -> None:
    place, url, home, when, call, which = sys.argv[1:]
    s3_stage.ROWS_PER_FILE = ROWS_PER_FILE
    warehouse: Any = from_text(place).warehouse()
    how = {"when": when, "call": call, "which": int(which)}
    if warehouse.name == "bigquery":
        warehouse._writer = Stopping(warehouse._writer, **how)
    elif call in {"commit", "cursor"}:
        connect = warehouse._connect
        warehouse._connect = lambda: Stopping(connect(), **how)
    else:
        warehouse._stage._s3 = Stopping(warehouse._stage._s3, **how)
    settings = Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home})
    list(copied_batches(Postgres(url), Lake(settings), warehouse))
