"""Report files parsed and in the ledger: a KDP workbook of 100,000 rows beside openpyxl reading it alone, a million
rows of Draft2Digital beside pandas and pyarrow reading them alone, and beside a plain COPY of what was parsed.

Each work runs in a process of its own, in turns with the others, into an empty ledger. Ours is everything from the file
to the committed rows, and once more for the same file. Peaks of memory are of the process and its children together:
workbooks are read in a child. The plain COPY fills a table of the same keys and checks, and cannot update.
"""

import csv
import hashlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import openpyxl
import psutil
import psycopg

from benchmarks._measures import PROJECT_ROOT, faster, peak_mb, seconds, share
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.sales import draft2digital, kdp
from ingestion_pipeline.domains.sales.ledger import ReportFile, store_report
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.postgres import Postgres, copy_rows

KDP_ROWS, D2D_ROWS, ROUNDS = 100_000, 1_000_000, 3
TARGET = 1.0
SAMPLE_SECONDS = 0.02
FIRST_DAY = date(2024, 1, 1)
EBOOK = (
    "Royalty Date|Title|Author Name|ASIN|Marketplace|Royalty Type|Transaction Type|Units Sold|Units Refunded|"
    "Net Units Sold|Avg. List Price without tax|Avg. Offer Price without tax|Avg. File Size (MB)|Avg. Delivery Cost|"
    "Royalty|Currency"
)
D2D = (
    "Start Date|End Date|Publisher|Title ID|Ebook ISBN|Title|Primary Author|Distributor|Vendor|Country|Units Sold|"
    "Units Returned|Net Unit Sales|Sales Model|Retailer|List Price Per Unit|Currency Code|Offer Price Per Unit|"
    "Royalty Percent|Sales Channel Fee/Taxes Per Unit|Extended Sales Channel Revenue|Sales Channel Share|D2D Share|"
    "Publisher Share|Publisher Share USD (estimated)|Verified"
)
PLACES = (("Amazon.com", "USD"), ("Amazon.de", "EUR"), ("Amazon.co.uk", "GBP"), ("Amazon.co.jp", "JPY"))
COUNTRIES = ("US", "DE", "GB", "JP", "CA")
OURS = {"kdp": ("amazon_kdp", kdp.parse), "d2d": ("draft2digital", draft2digital.parse)}
EMPTY = "truncate sales.sales_events, sales.report_files, sales.ledger_months"


def write_kdp(path: Path, rows: int) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("eBook Royalty")
    sheet.append(EBOOK.split("|"))
    for number in range(rows):
        place, currency = PLACES[number % 4]
        day = FIRST_DAY + timedelta(days=number // 4 % 700)
        title = number // 2_800
        start = [day.isoformat(), f"Book {title}", "Ada Writer", f"B0{title:08}", place, "70%", "Standard"]
        sheet.append([*start, 2, 0, 2, 4.99, 4.99, 1.2, 0.06, 6.9, currency])
    book.save(path)


def write_d2d(path: Path, rows: int) -> None:
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(D2D.split("|"))
        for number in range(rows):
            day = (FIRST_DAY + timedelta(days=number // 5 % 700)).isoformat()
            title = number // 3_500
            book = [f"{100_000 + title}", f"978{title:010}", f"Book {title}", "Ada Writer"]
            start = [day, day, "Press", *book, "Kobo", "Kobo Books", COUNTRIES[number % 5], "2", "0", "2", "Retail"]
            prices = ["Kobo", "4.99", "USD", "4.99", "0.6", "0", "9.98", "0", "0", "5.988", "5.988", "True"]
            lines.writerow([*start, *prices])


@contextmanager
def sampled_memory(peaks: list[float]) -> Iterator[None]:
    """Adds the most megabytes that this process and its children held at one time to `peaks`."""
    own, is_over, samples = psutil.Process(), threading.Event(), [0]

    def sample() -> None:
        while not is_over.wait(SAMPLE_SECONDS):
            try:
                samples.append(sum(it.memory_info().rss for it in (own, *own.children())))
            except psutil.NoSuchProcess:
                continue

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        peaks.append(max(max(samples) / 1e6, peak_mb()))


def take(kind: str, path: Path, url: str) -> list[float]:
    """Seconds of parsing, of storing, of parsing and storing again; megabytes; seconds of the plain COPY."""
    platform, parse = OURS[kind]
    parsed, peaks = [], list[float]()
    with closing(Postgres(url)) as postgres:

        def parse_file() -> None:
            parsed.append(parse(path, path.name))

        def store(expected: int) -> None:
            file = ReportFile(
                platform=platform,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                name=path.name,
                size_bytes=path.stat().st_size,
                exported_at=utc_now(),
            )
            with postgres.transaction() as connection:
                assert store_report(connection, "benchmark", parsed[-1], file).inserted == expected

        with sampled_memory(peaks):
            parsing = seconds(parse_file)
            storing = seconds(lambda: store(expected=parsed[0].rows.num_rows))
        again = seconds(parse_file) + seconds(lambda: store(expected=0))
    rows = parsed[0].rows

    def plain_copy() -> None:
        with psycopg.connect(owner_of(url)) as connection, connection.cursor() as cursor:
            copy_rows(cursor, "sales.plain", rows)

    with psycopg.connect(owner_of(url), autocommit=True) as connection:
        connection.execute("create table sales.plain (like sales.sales_events including all)")
        connection.execute("alter table sales.plain alter owner_id set default 'benchmark'")
        connection.execute(
            "alter table sales.plain alter source_sha256 set default '', alter exported_at set default now()"
        )
        connection.execute("checkpoint")
        copying = seconds(plain_copy)
        connection.execute("drop table sales.plain")
    return [parsing, storing, again, peaks[0], copying]


def owner_of(url: str) -> str:
    return url.replace("pipeline_worker@", "postgres@", 1)


def alone(work: str, path: Path, url: str) -> list[float]:
    """The figures that a process of its own prints, with an empty ledger."""
    with psycopg.connect(owner_of(url), autocommit=True) as connection:
        connection.execute(EMPTY)
        connection.execute("checkpoint")
    module, arguments = ("sales_reports", [url]) if work in OURS else ("_readers", [])
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", work, str(path), *arguments]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT)
    return [float(word) for word in run.stdout.split()]


def medians_alone(url: str, works: tuple[str, ...], path: Path, rounds: int) -> dict[str, list[float]]:
    """Of each work the medians of its figures; the works take turns."""
    taken: dict[str, list[list[float]]] = {work: [] for work in works}
    for _ in range(rounds):
        for work in works:
            taken[work].append(alone(work, path, url))
    return {work: [median(figures) for figures in zip(*runs, strict=True)] for work, runs in taken.items()}


def show(kind: str, path: Path, rows: int, figures: dict[str, list[float]]) -> None:
    parsing, storing, again, mb, copying = figures.pop(kind)
    ours, size = parsing + storing, path.stat().st_size / 1e6
    print(f"{kind}, {rows:,} rows, {size:.0f} MB")
    print(
        f"ours: {ours:5.2f} s: parsed {parsing:.2f}, stored {storing:.2f}; {rows / ours:,.0f} rows/s, peak {mb:,.0f} MB"
    )
    print(f"      the same file again {again:5.2f} s")
    for reader, (spent, peer_mb) in figures.items():
        target = TARGET if reader == "openpyxl" else None
        print(f"peer: {reader} reads it alone {spent:5.2f} s, peak {peer_mb:,.0f} MB  {faster(spent / ours, target)}")
    print(f"limit: plain COPY of the parsed rows {copying:5.2f} s, beside storing {share(copying / storing)}")


def main(kdp_rows: int = KDP_ROWS, d2d_rows: int = D2D_ROWS, rounds: int = ROUNDS) -> None:
    configure_logging("critical")
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings.from_environment({"INGESTION_HOME": folder, "DATABASE_URL": ""})
        book, table = Path(folder, "KDP_Dashboard-1.xlsx"), Path(folder, "d2d.csv")
        write_kdp(book, kdp_rows)
        write_d2d(table, d2d_rows)
        with database(settings) as environment:
            url = environment["DATABASE_URL"]
            show("kdp", book, kdp_rows, medians_alone(url, ("openpyxl", "kdp"), book, rounds))
            show("d2d", table, d2d_rows, medians_alone(url, ("pandas", "pyarrow", "d2d"), table, rounds))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*take(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
    else:
        main()
