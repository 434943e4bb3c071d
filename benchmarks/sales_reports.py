"""Report files parsed and in the ledger: a KDP workbook of 100,000 rows beside openpyxl reading it alone, a million
rows of Draft2Digital. Peak memory of each in a process of its own.
"""

import csv
import hashlib
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import openpyxl

from benchmarks._measures import PROJECT_ROOT, faster, peak_mb, seconds
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.sales import draft2digital, kdp
from ingestion_pipeline.domains.sales.contracts import ParsedReport
from ingestion_pipeline.domains.sales.ledger import ReportFile, store_report
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.postgres import Postgres

KDP_ROWS, D2D_ROWS = 100_000, 1_000_000
TARGET = 1.0
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
PARTS = {"kdp": kdp.parse, "d2d": draft2digital.parse}


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


def read_alone(path: Path) -> None:
    """What openpyxl takes to give the cells, and nothing else."""
    book = openpyxl.load_workbook(path, read_only=True)
    for sheet in book.worksheets:
        for _ in sheet.iter_rows(values_only=True):
            pass
    book.close()


def take(kind: str, path: Path, url: str) -> tuple[ParsedReport, float, float]:
    """The report, and the seconds of parsing and storing it."""
    found: list[ParsedReport] = []
    parsing = seconds(lambda: found.append(PARTS[kind](path, path.name)))
    report = found[0]
    with closing(Postgres(url)) as postgres:

        def store() -> None:
            platform = "amazon_kdp" if kind == "kdp" else "draft2digital"
            file = ReportFile(
                platform=platform,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                name=path.name,
                size_bytes=path.stat().st_size,
                exported_at=utc_now(),
            )
            with postgres.transaction() as connection:
                stored = store_report(connection, "benchmark", report, file)
            assert stored.inserted == report.rows.num_rows

        return report, parsing, seconds(store)


def alone(*arguments: str) -> list[float]:
    """The figures that a process of its own prints."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.sales_reports", *arguments]
    run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT_ROOT)
    return [float(word) for word in run.stdout.split()]


def main(kdp_rows: int = KDP_ROWS, d2d_rows: int = D2D_ROWS) -> None:
    configure_logging("critical")
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings.from_environment({"INGESTION_HOME": folder, "DATABASE_URL": ""})
        book, table = Path(folder, "KDP_Dashboard-1.xlsx"), Path(folder, "d2d.csv")
        write_kdp(book, kdp_rows)
        write_d2d(table, d2d_rows)
        with database(settings) as environment:
            url = environment["DATABASE_URL"]
            peer, peer_mb = alone("openpyxl", str(book), url)
            for kind, path, rows in (("kdp", book, kdp_rows), ("d2d", table, d2d_rows)):
                parsing, storing, mb = alone(kind, str(path), url)
                rate, size = rows / (parsing + storing), path.stat().st_size / 1e6
                print(f"{kind}, {rows:,} rows, {size:.0f} MB")
                print(f"ours: parsed {parsing:5.1f} s, stored {storing:5.1f} s, {rate:,.0f} rows/s, peak {mb:,.0f} MB")
                if kind == "kdp":
                    print(f"peer: openpyxl reads it alone {peer:5.1f} s, peak {peer_mb:,.0f} MB")
                    print(f"      {faster(peer / (parsing + storing), TARGET)}")


def part(kind: str, path: Path, url: str) -> None:
    """One measurement, for `alone`."""
    if kind == "openpyxl":
        print(seconds(lambda: read_alone(path)), peak_mb())
        return
    _, parsing, storing = take(kind, path, url)
    print(parsing, storing, peak_mb())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        part(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    else:
        main()
