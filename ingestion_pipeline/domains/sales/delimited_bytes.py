"""Files that nobody vouches for, as UTF-8: what is no text is refused, the encoding is found, size is bounded.

Here: bytes to lines of UTF-8. Not here: cells and columns (delimited.py).
"""

import codecs
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.domains.sales.contracts import QuarantineError

MOST_BYTES = 256 * 1024 * 1024
LONGEST_ROW_BYTES = 1024 * 1024
_OTHER_FILES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook (.xlsx): save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old or encrypted Excel workbook: save it as CSV",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "a web page or XML: was the download a login page?",
}
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class TextFile:
    """One file, opened, of known encoding."""

    def __init__(self, file: BinaryIO | Path, name: str) -> None:
        """Finds the encoding.

        Raises:
            QuarantineError: empty, or another kind of file.
        """
        self.name = name
        self._file = file.open("rb") if isinstance(file, Path) else file
        self._owns_file = isinstance(file, Path)
        try:
            self._start = self._file.tell()
            self._state = self._stat()
            self._encoding = self._found_encoding()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file if it was opened here."""
        if self._owns_file:
            self._file.close()

    def stream(self, *, skipping: int) -> "Stream":
        """The file as UTF-8, without its first `skipping` bytes of UTF-8."""
        stream = Stream(self.blocks())
        stream.skip(skipping)
        return stream

    def check_unchanged(self) -> None:
        """Raises StoreUnavailableError when the file is another one than when it was opened."""
        if self._stat() != self._state:
            raise StoreUnavailableError(self.name, "it changed while it was read")

    def blocks(self) -> Iterator[bytes]:
        """The file from its start as UTF-8, in blocks; whole lines, unless it is UTF-16.

        Raises:
            QuarantineError: undecodable, binary, too large, or a line too long.
        """
        self._file.seek(self._start)
        blocks = self._bounded()
        if self._encoding == "utf-8":
            return (self._as_utf8(block) for block in self._whole_lines(blocks))
        return self._recoded(blocks)

    def _bounded(self) -> Iterator[bytes]:
        size = 0
        while block := self._file.read(LONGEST_ROW_BYTES):
            size += len(block)
            if size > MOST_BYTES:
                raise QuarantineError(f"{self.name}: larger than {MOST_BYTES // 1024**2} MiB; split it")
            yield block

    def _whole_lines(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        rest = b""
        for block in blocks:
            text = rest + block
            end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
            if len(text) - end > LONGEST_ROW_BYTES:
                raise QuarantineError(f"{self.name}: a line is longer than {LONGEST_ROW_BYTES // 1024} KiB")
            rest = text[end:]
            if end:
                yield text[:end]
        if rest:
            yield rest

    def _as_utf8(self, block: bytes) -> bytes:
        if b"\0" in block:
            raise QuarantineError(f"{self.name}: expected text, found a NUL byte: the file is binary or damaged")
        try:
            block.decode()
        except UnicodeDecodeError:
            return b"".join(map(self._line_as_utf8, block.splitlines(keepends=True)))
        return block

    def _line_as_utf8(self, line: bytes) -> bytes:
        try:
            line.decode()
        except UnicodeDecodeError:
            try:
                return line.decode("cp1252").encode()
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise QuarantineError(
                    f"{self.name}: byte 0x{byte:02x} in {line[:60]!r} is neither UTF-8 nor Windows-1252"
                ) from None
        return line

    def _recoded(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self._encoding)()
        try:
            for block in itertools.chain(blocks, [b""]):
                text = decoder.decode(block, final=not block)
                if "\0" in text:
                    raise QuarantineError(f"{self.name}: expected text, found NUL: the file is binary or damaged")
                if text:
                    yield text.encode()
        except UnicodeError:
            raise QuarantineError(f"{self.name}: damaged {self._encoding.upper()} text") from None

    def _stat(self) -> tuple[int, int] | None:
        try:
            stat = os.fstat(self._file.fileno())
        except (OSError, io.UnsupportedOperation):
            return None
        return stat.st_size, stat.st_mtime_ns

    def _found_encoding(self) -> str:
        head = self._file.read(4096)
        if not head.strip():
            raise QuarantineError(f"{self.name}: the file is empty")
        for mark, encoding in _BYTE_ORDER_MARKS:
            if head.startswith(mark):
                self._start += len(mark)
                return encoding
        for start, kind in _OTHER_FILES.items():
            if head.lstrip().startswith(start):
                raise QuarantineError(f"{self.name}: expected a CSV or tab-separated report, this is {kind}")
        return _unmarked_encoding(head)


class Stream(io.RawIOBase):
    """Blocks of bytes as a file. A read is answered in full while it can be: Arrow takes a short one for the end."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._buffer = b""
        self.is_at_end = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, missing = [], MOST_BYTES if size < 0 else size
        while missing and not self.is_at_end:
            if not self._buffer:
                block = next(self._blocks, None)
                self.is_at_end = block is None
                self._buffer = block or b""
            parts.append(self._buffer[:missing])
            self._buffer = self._buffer[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Leaves out the first `count` bytes."""
        while skipped := self.read(count):
            count -= len(skipped)


def _unmarked_encoding(head: bytes) -> str:
    if b"\0" not in head:
        return "utf-8"
    # Western text in UTF-16 has a zero in every other byte.
    if not any(head[::2]) or head[::2].count(0) > len(head) // 3:
        return "utf-16-be"
    return "utf-16-le" if head[1::2].count(0) > len(head) // 3 else "utf-8"
