"""Writes rows as a platform, Excel, or an old program would: delimiter, encoding, line ends."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence


def rendered(
    header: Sequence[str],
    rows: Iterable[Mapping[str, str]],
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    line_end: str = "\r\n",
    is_quoted: bool = True,
) -> bytes:
    """The file of `rows`; a missing cell is empty. Not quoted: cells are written as they are, as TSV often is."""
    lines = [list(header), *([row.get(column, "") for column in header] for row in rows)]
    if not is_quoted:
        return "".join(delimiter.join(cells) + line_end for cells in lines).encode(encoding)
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=line_end).writerows(lines)
    return text.getvalue().encode(encoding)
