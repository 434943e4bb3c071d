"""What kinds of jobs there are: a name, the shape of its input, how often and how many at once. No behaviour.

Both processes know the types: the intake judges the input by them, the worker finds the handler by the name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec


def _nothing_else(*_: Any) -> None:
    """For types whose input can be done whenever it fits."""


@dataclass(frozen=True, kw_only=True)
class JobType:
    """One kind of job.

    Attributes:
        name: as in `operations.jobs.job_type`.
        summary: one line for the API's document.
        input_type: a msgspec struct that `input_data` must fit.
        max_attempts: how often it is tried before it fails.
        at_once: how many of this type may run at the same time; no limit when None.
        is_long: it may take minutes: one run is kept free for the others.
        check: given the input, the job's market and the settings, raises a ContractError for what must fail; its
            `field` is as in the body of POST /api/jobs.
    """

    name: str
    summary: str
    input_type: type[msgspec.Struct]
    max_attempts: int = 3
    at_once: int | None = None
    is_long: bool = False
    check: Callable[[Any, str | None, Any], object] = _nothing_else

    def input_of(self, data: Any) -> Any:
        """`data` as `input_type`.

        Raises:
            msgspec.ValidationError: it does not fit.
        """
        return msgspec.convert(data, self.input_type)
