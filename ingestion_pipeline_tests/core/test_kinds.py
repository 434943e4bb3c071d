"""Kinds of jobs and deliveries judge their input by a struct."""

import msgspec
import pytest

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.core.jobs import JobType


class Ingest(msgspec.Struct, forbid_unknown_fields=True):
    symbols: list[str] = []


def test_a_job_type_reads_its_input() -> None:
    job_type = JobType(name="market_ingest", summary="", input_type=Ingest)
    assert Ingest(["SPX"]) == job_type.input_of({"symbols": ["SPX"]})


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.symbols"):
        DeliveryType(name="x", summary="", data_type=Ingest).data_of({"symbols": "SPX"})
