"""Warehouses to copy to. Their packages live in an environment of their own: `make test-warehouse`."""

import importlib.util
import itertools
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.warehouse.history import History

if TYPE_CHECKING:
    from ingestion_pipeline_tests.warehouse.places import BigQueryPlace, RedshiftPlace

collect_ignore_glob = [] if importlib.util.find_spec("bqemulator") else ["test_*.py"]

_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def _credentials() -> Iterator[None]:
    """Of nobody: what is not an emulator refuses them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


@pytest.fixture(scope="session")
def bigquery_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from ingestion_pipeline_tests.warehouse.services import bigquery_emulator

    with bigquery_emulator(tmp_path_factory.mktemp("bigquery")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from ingestion_pipeline_tests.warehouse.services import s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def history(postgres: Postgres, lake: Lake) -> History:
    return History(postgres, lake)


@pytest.fixture
def bigquery(bigquery_endpoint: str) -> "Iterator[BigQueryPlace]":
    """An empty dataset."""
    from ingestion_pipeline_tests.warehouse.places import BigQueryPlace, close_all

    place = BigQueryPlace(bigquery_endpoint, f"events_{next(_numbers)}")
    place.client.create_dataset(place.dataset)
    yield place
    close_all()


@pytest.fixture
def redshift(server: EmbeddedServer, s3_endpoint: str) -> "Iterator[RedshiftPlace]":
    """An empty database of the stand-in and an empty prefix of the bucket."""
    from ingestion_pipeline_tests.warehouse.places import RedshiftPlace, close_all
    from ingestion_pipeline_tests.warehouse.redshift_stand_in import listener

    name = f"redshift_{next(_numbers)}"
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    with listener(server.socket_folder) as port:
        yield RedshiftPlace(port, name, s3_endpoint)
        close_all()
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture(params=["bigquery", "redshift"])
def place(request: pytest.FixtureRequest) -> Any:
    """Each warehouse in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Google's and Amazon's libraries use interfaces that warn
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield
