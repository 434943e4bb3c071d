"""Reads a text file that may be hostile: size, compression ratio and line length are all bounded while it streams.

Belongs here: bytes from disk. Does not belong here: what they mean.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ingestion_pipeline.core.errors import ContractError

_CHUNK_BYTES = 1024 * 1024
_EXCERPT_CHARACTERS = 60
_NEWLINE = 10


@dataclass(frozen=True, kw_only=True)
class FileLimits:
    """`max_bytes` is of the decompressed content; `max_ratio` of it to the file, where it is more than a megabyte."""

    max_bytes: int = 512 * 1024 * 1024
    max_ratio: int = 200
    max_line_bytes: int = 64 * 1024


def bounded_bytes(path: Path, limits: FileLimits) -> bytes:
    """The content, decompressed where the name ends in .gz.

    Raises:
        ContractError: not gzip, damaged, or beyond a limit; the text names which.
    """
    with path.open("rb") as raw:
        if path.suffix != ".gz":
            return _bounded(path, raw, raw, limits)
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _bounded(path, unpacked, raw, limits)  # type: ignore[arg-type]
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise ContractError(str(path), "content", excerpt(str(error)), "whole and undamaged gzip") from None


def excerpt(text: str) -> str:
    """The first characters, printable."""
    return ascii(text[:_EXCERPT_CHARACTERS]) if text else "empty"


def _bounded(path: Path, stream: IO[bytes], raw: IO[bytes], limits: FileLimits) -> bytes:
    content = bytearray()
    line_bytes = 0
    while chunk := stream.read(_CHUNK_BYTES):
        content += chunk
        if len(content) > limits.max_bytes:
            raise _beyond(
                path, "size", f"over {limits.max_bytes} bytes", f"at most {limits.max_bytes} (limit max_bytes)"
            )
        if len(content) > _CHUNK_BYTES and len(content) > limits.max_ratio * max(raw.tell(), 1):
            seen = f"over {limits.max_ratio}:1"
            raise _beyond(path, "compression ratio", seen, f"at most {limits.max_ratio}:1 (limit max_ratio)")
        longest, line_bytes = _line_lengths(chunk, line_bytes)
        if longest > limits.max_line_bytes:
            seen = f"over {limits.max_line_bytes} bytes"
            raise _beyond(path, "length of a line", seen, f"at most {limits.max_line_bytes} (limit max_line_bytes)")
    return bytes(content)


def _line_lengths(chunk: bytes, carried: int) -> tuple[int, int]:
    """The longest line that `chunk` shows when `carried` bytes of its first line came before; and what to carry on."""
    breaks = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == _NEWLINE)
    if not len(breaks):
        return carried + len(chunk), carried + len(chunk)
    rest = len(chunk) - 1 - int(breaks[-1])
    inner = int(np.diff(breaks).max()) if len(breaks) > 1 else 0
    return max(carried + int(breaks[0]), inner, rest), rest


def _beyond(path: Path, field: str, seen: str, expected: str) -> ContractError:
    return ContractError(str(path), field, seen, expected)
