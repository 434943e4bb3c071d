"""How long a source may be silent: `24h` for every source, `acme=1h` for one, `off` for ever, separated by commas."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

_SPAN = re.compile(r"([1-9]\d{0,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
DEFAULT = timedelta(hours=24)
OFF = "off"


@dataclass(frozen=True)
class Silence:
    """`everybody` is allowed this long; the sources of `sources` their own. None is for ever."""

    everybody: timedelta | None
    sources: Mapping[str, timedelta | None]

    def of(self, source: str) -> timedelta | None:
        return self.sources.get(source, self.everybody)


def parse_silence(text: str) -> Silence:
    """Reads `24h` or `24h,acme=1h,other=off`.

    Raises:
        ValueError: it is spelled otherwise.
    """
    everybody: timedelta | None = DEFAULT
    sources: dict[str, timedelta | None] = {}
    for part in text.split(","):
        source, mark, span = part.strip().rpartition("=")
        found = _SPAN.fullmatch(span)
        if not (found or span == OFF) or (mark and not source):
            raise ValueError("expected spans such as 24h or 24h,acme=1h,other=off (m, h, d)")
        length = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
        if source:
            sources[source] = length
        else:
            everybody = length
    return Silence(everybody, sources)
