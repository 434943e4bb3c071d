"""What kinds of jobs there are: a name, the shape of its input, how often and how many at once. No behaviour.

Both processes know the types: the intake judges the input by them, the worker finds the handler by the name.
"""

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, kw_only=True)
class JobType:
    """One kind of job.

    Attributes:
        name: as in `operations.jobs.job_type`.
        summary: one line for the API's document.
        input_type: a msgspec struct that `input_data` must fit.
        max_attempts: how often it is tried before it fails.
        at_once: how many of this type may run at the same time; no limit when None.
    """

    name: str
    summary: str
    input_type: type[msgspec.Struct]
    max_attempts: int = 3
    at_once: int | None = None

    def input_of(self, data: Any) -> Any:
        """`data` as `input_type`.

        Raises:
            msgspec.ValidationError: it does not fit.
        """
        return msgspec.convert(data, self.input_type)
