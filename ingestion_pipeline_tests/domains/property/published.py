"""The publishers' files of data/property, and copies of them with something changed."""

import gzip
from datetime import date
from pathlib import Path

from ingestion_pipeline.domains.property.files import BadCell, Figure, PublishedFile
from ingestion_pipeline_tests.conftest import DATA

FILES = DATA / "property"
ZILLOW_METRO = FILES / "Metro_zhvi_uc_sfrcondo_tier_0.33_0.67_sm_sa_month.csv"
ZILLOW_ZIP = FILES / "Zip_zhvi_uc_sfrcondo_tier_0.33_0.67_sm_sa_month.csv"
ZILLOW_CITY = FILES / "City_zori_uc_sfrcondomfr_sm_month.csv"
REDFIN_METRO = FILES / "redfin_metro_market_tracker.tsv000.gz"
REDFIN_ZIP = FILES / "zip_code_market_tracker.tsv000.gz"
REALTOR_METRO = FILES / "RDC_Inventory_Core_Metrics_Metro.csv"
REALTOR_COUNTY = FILES / "RDC_Inventory_Core_Metrics_County.csv"
REALTOR_ZIP = FILES / "RDC_Inventory_Core_Metrics_Zip_History.csv"


def values(file: PublishedFile) -> dict[tuple[str, str, date], float]:
    """Every figure of `file` by market, metric and day; none twice."""
    figures = [it for it in file.figures() if isinstance(it, Figure)]
    found = {(file.markets[it.region_id], it.metric, it.as_of): it.value for it in figures}
    assert len(found) == len(figures)
    return found


def problems(file: PublishedFile) -> list[str]:
    return [it.reason for it in file.figures() if isinstance(it, BadCell)]


def changed(path: Path, folder: Path, *replacements: tuple[str, str], name: str | None = None) -> Path:
    """A copy of `path` with some texts replaced, each of which it must hold."""
    is_gzip = path.suffix == ".gz"
    text = (gzip.decompress(path.read_bytes()) if is_gzip else path.read_bytes()).decode()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    copy = folder / (name or path.name)
    copy.write_bytes(gzip.compress(text.encode()) if is_gzip else text.encode())
    return copy
