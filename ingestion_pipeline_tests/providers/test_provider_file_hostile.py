"""Files that are broken, or meant to break us: each gives an error that names the file and what is wrong with it."""

import gzip
import os
from datetime import date

import pandas as pd
import pytest

from ingestion_pipeline.core.errors import (
    ConfigurationError,
    ContractError,
    ProviderUnavailableError,
    UnsafePathError,
)
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.file import FileProvider
from ingestion_pipeline.providers.file_bytes import FileLimits
from ingestion_pipeline.providers.file_index import Shelf

HEADER = "symbol,ts,open,high,low,close,volume\n"
ROW = "X,2020-01-01,1,1,1,1,1\n"
DAYS = Window.of_days(date(2020, 1, 1), date(2020, 12, 31))


def ask(folder, limits=None):
    return FileProvider(folder, limits=limits, shelf=Shelf()).fetch_bars("X", DAYS)


def refused(tmp_path, name, content, limits=None):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ContractError) as caught:
        ask(tmp_path, limits)
    assert str(path) == caught.value.source
    return caught.value


def test_missing_columns_are_named_with_the_nearest(tmp_path):
    """What was found, what is missing, and which found name may be meant."""
    error = refused(tmp_path, "bars_1d_x.csv", "symbol,ts,open,hihg,low,close,volumes\n" + ROW)
    assert error.field == "columns"
    assert "'hihg'" in error.seen
    assert "missing: high, volume" in error.expected
    assert "'hihg' for high" in error.expected
    assert "'volumes' for volume" in error.expected


def test_repeated_columns_are_refused(tmp_path):
    """Which of the two would be the price?"""
    assert "each once" in refused(tmp_path, "bars_1d_x.csv", HEADER.strip() + ",close\n" + ROW).expected


@pytest.mark.parametrize("content", ["", HEADER, HEADER.strip(), "\n", HEADER + "\n\n"])
def test_empty_files_are_refused(tmp_path, content):
    """A file without bars is a delivery that went wrong."""
    refused(tmp_path, "bars_1d_x.csv", content)


def test_a_row_of_another_length_names_its_line(tmp_path):
    """Line 3 of the file, counted with the header."""
    error = refused(tmp_path, "bars_1d_x.csv", HEADER + ROW + "X,2020-01-02,1\n" + ROW)
    assert error.field == "number of columns in line 3"
    assert error.seen.startswith("3")
    assert error.expected == "7"


@pytest.mark.parametrize("ts", ["yesterday", "2020-13-01", "", "99999999999999", "2020-01-01T25:00:00Z"])
def test_a_time_that_cannot_be_read_names_its_line_and_value(tmp_path, ts):
    """Such a row belongs to no window, so it cannot be rejected with one."""
    error = refused(tmp_path, "bars_1d_x.csv", HEADER + ROW + f"X,{ts},1,1,1,1,1\n")
    assert error.field == "ts in line 3"
    assert (ts or "empty") in error.seen


def test_a_row_without_a_symbol_names_its_line(tmp_path):
    """Nobody could ask for it."""
    assert refused(tmp_path, "bars_1d_x.csv", HEADER + ROW + ",2020-01-02,1,1,1,1,1\n").field == "symbol in line 3"


def test_text_named_gz_is_refused(tmp_path):
    """The name promises gzip."""
    error = refused(tmp_path, "bars_1d_x.csv.gz", HEADER + ROW)
    assert error.expected == "whole and undamaged gzip"


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_gzip_is_refused(tmp_path, damage):
    """Half of an archive is not read as half of the bars."""
    packed = bytearray(gzip.compress((HEADER + ROW * 500).encode()))
    if damage == "cut":
        del packed[-10:]
    else:
        packed[len(packed) // 2] ^= 0xFF
    assert refused(tmp_path, "bars_1d_x.csv.gz", bytes(packed)).expected == "whole and undamaged gzip"


def test_a_zip_bomb_meets_the_ratio(tmp_path):
    """Fifty megabytes of zeros in fifty kilobytes; the text names the limit."""
    bomb = gzip.compress(b"\n" * 50_000_000)
    error = refused(tmp_path, "bars_1d_x.csv.gz", bomb)
    assert "max_ratio" in error.expected


def test_a_large_file_meets_the_size(tmp_path):
    """Compressed or not, the decompressed size counts."""
    text = HEADER + ROW * 1000
    for name, content in (("bars_1d_x.csv", text.encode()), ("bars_1d_x.csv.gz", gzip.compress(text.encode()))):
        assert "max_bytes" in refused(tmp_path, name, content, FileLimits(max_bytes=10_000)).expected
        (tmp_path / name).unlink()


def test_an_endless_line_meets_the_length(tmp_path):
    """A sparse file of two gigabytes without a line end is refused after the first megabyte."""
    path = tmp_path / "bars_1d_x.csv"
    with path.open("wb") as file:
        file.write(HEADER.encode())
        file.truncate(2 * 1024**3)
    with pytest.raises(ContractError, match="max_line_bytes"):
        ask(tmp_path)


@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_a_long_line_is_found_wherever_it_is(tmp_path, position):
    """In a smaller cap, also without a line end at the end of the file."""
    long = "X,2020-01-02," + "1" * 300 + ",1,1,1,1\n"
    lines = {"first": long + HEADER + ROW, "middle": HEADER + ROW + long + ROW, "last": HEADER + ROW + long.strip()}
    error = refused(tmp_path, "bars_1d_x.csv", lines[position], FileLimits(max_line_bytes=200))
    assert "max_line_bytes" in error.expected


def test_a_line_may_cross_the_chunks_that_are_read(tmp_path):
    """Lines under the cap are fine wherever a chunk of a megabyte ends."""
    (tmp_path / "bars_1d_x.csv").write_text(HEADER + ROW * 60_000)
    assert len(ask(tmp_path, FileLimits(max_line_bytes=len(HEADER)))) == 60_000


@pytest.mark.parametrize("name", ["bars_1d_x.csv", "bars_1d_x.parquet"])
@pytest.mark.parametrize(
    "content", [os.urandom(5000), b"\x00" * 5000, b"PK\x03\x04" + b"\x00" * 100, "ÿþ".encode("utf-16")]
)
def test_binary_garbage_is_refused(tmp_path, name, content):
    """Whatever it is, it is no table of bars."""
    refused(tmp_path, name, content)


def test_text_that_is_no_utf8_is_refused(tmp_path):
    """Latin-1 in a symbol."""
    error = refused(tmp_path, "bars_1d_x.csv", HEADER.encode() + b"M\xfcnchen,2020-01-01,1,1,1,1,1\n")
    assert error.expected == "CSV in UTF-8"


def test_parquet_of_other_columns_is_refused(tmp_path):
    """The same message as for CSV."""
    pd.DataFrame({"symbol": ["X"], "date": ["2020-01-01"]}).to_parquet(tmp_path / "bars_1d_x.parquet")
    with pytest.raises(ContractError, match="missing: ts, open, high, low, close, volume"):
        ask(tmp_path)


def test_parquet_bomb_meets_the_size(tmp_path):
    """A million equal rows need a few kilobytes on disk."""
    columns = {name: [1.0] * 100_000 for name in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame({"symbol": ["X"] * 100_000, "ts": ["2020-01-01"] * 100_000, **columns})
    frame.to_parquet(tmp_path / "bars_1d_x.parquet")
    assert (tmp_path / "bars_1d_x.parquet").stat().st_size < 50_000
    with pytest.raises(ContractError, match="max_bytes"):
        ask(tmp_path, FileLimits(max_bytes=1_000_000))


def test_one_bar_without_a_named_interval_is_refused(tmp_path):
    """Nothing says how long it is."""
    assert refused(tmp_path, "x.csv", HEADER + ROW).field == "interval of X"


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_symlink_out_of_the_folder_is_refused(tmp_path, is_folder):
    """Directly, or through a folder of the folder."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "bars_1d_x.csv").write_text(HEADER + ROW)
    target = outside / "bars_1d_x.csv"
    if is_folder:
        (inside / "sub").symlink_to(outside)
        target = inside / "sub" / "bars_1d_x.csv"
    (inside / "bars_1d_x.csv").symlink_to(target)
    with pytest.raises(UnsafePathError, match="outside"):
        ask(inside)


def test_a_symlink_inside_the_folder_is_followed(tmp_path):
    """Also when the folder itself is reached through one."""
    real = tmp_path / "real"
    (real / "old").mkdir(parents=True)
    (real / "old" / "bars_1d_x.csv").write_text(HEADER + ROW)
    (real / "bars_1d_x.csv").symlink_to(real / "old" / "bars_1d_x.csv")
    (tmp_path / "link").symlink_to(real)
    assert len(ask(tmp_path / "link")) == 1


def test_dangling_links_pipes_and_folders_are_refused(tmp_path):
    """Opening a pipe would wait for ever."""
    path = tmp_path / "bars_1d_x.csv"
    for make in (lambda: path.symlink_to(tmp_path / "gone"), lambda: os.mkfifo(path), path.mkdir):
        make()
        with pytest.raises(ContractError, match=r"bars_1d_x\.csv"):
            ask(tmp_path)
        path.rmdir() if path.is_dir() else path.unlink()


def test_folder_that_is_missing_unset_or_empty_names_the_setting(tmp_path):
    """What to change is in the text."""
    for folder in (None, tmp_path / "gone", tmp_path):
        with pytest.raises(ConfigurationError, match="INGESTION_FILE_PATH"):
            ask(folder)


def test_other_files_are_left_alone(tmp_path):
    """Notes and hidden files lie in every folder."""
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / "._bars_1d_x.csv").write_bytes(b"\x00")
    (tmp_path / "bars_1d_x.csv").write_text(HEADER + ROW)
    assert len(ask(tmp_path)) == 1


def test_quote_before_the_first_bar_is_not_there_yet(tmp_path):
    """The file begins next year."""
    (tmp_path / "bars_1d_x.csv").write_text(HEADER + ROW.replace("2020", "2030"))
    with pytest.raises(ProviderUnavailableError, match="no finished bar of X"):
        FileProvider(tmp_path, shelf=Shelf()).fetch_quotes(["X"])
