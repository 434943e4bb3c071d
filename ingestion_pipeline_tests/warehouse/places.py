"""The two warehouses of the tests: how to reach one from any process, and what everybody sees in it."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import boto3
import pandas as pd
import redshift_connector
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.warehouses.base import Warehouse, WarehouseName
from ingestion_pipeline.storage.warehouses.bigquery import BigQuery
from ingestion_pipeline.storage.warehouses.redshift import Redshift
from ingestion_pipeline.storage.warehouses.s3_stage import S3Stage
from ingestion_pipeline_tests.warehouse.redshift_stand_in import connects_to
from ingestion_pipeline_tests.warehouse.services import BUCKET, PROJECT

T = TypeVar("T")

ROLE = "arn:aws:iam::123456789012:role/copy"


_opened: list[Any] = []


def close_all() -> None:
    """Closes every client that a place has opened in this process."""
    while _opened:
        _opened.pop().close()


def _closed_later(client: T) -> T:
    _opened.append(client)
    return client


class Place(Protocol):
    name: WarehouseName

    def warehouse(self) -> Warehouse: ...

    def rows(self) -> pd.DataFrame: ...


@dataclass(frozen=True)
class BigQueryPlace:
    endpoint: str
    dataset: str
    name: WarehouseName = "bigquery"

    def warehouse(self) -> BigQuery:
        return _closed_later(BigQuery(EVENT_HISTORY, project=PROJECT, dataset=self.dataset, endpoint=self.endpoint))

    @cached_property
    def client(self) -> bigquery.Client:
        options = ClientOptions(api_endpoint=self.endpoint.partition(",")[0])
        return _closed_later(
            bigquery.Client(project=PROJECT, credentials=AnonymousCredentials(), client_options=options)
        )

    def rows(self) -> pd.DataFrame:
        table = f"`{PROJECT}.{self.dataset}.{EVENT_HISTORY.name}`"
        found = self.client.query(f"select * from {table} order by event_id").result()
        return pd.DataFrame([dict(row) for row in found], columns=list(EVENT_HISTORY.column_names))


@dataclass(frozen=True)
class RedshiftPlace:
    port: int
    database: str
    s3_endpoint: str
    name: WarehouseName = "redshift"

    def warehouse(self) -> Redshift:
        warehouse = Redshift(
            EVENT_HISTORY,
            stage=S3Stage(f"s3://{BUCKET}/{self.database}", self.s3_endpoint),
            iam_role=ROLE,
            connect=connects_to(self.port, self.database, self.s3_endpoint),
            error=redshift_connector.Error,
        )
        return _closed_later(warehouse)

    def rows(self) -> pd.DataFrame:
        connection = connects_to(self.port, self.database, self.s3_endpoint)()
        try:
            cursor = connection.cursor()
            cursor.execute(f"select * from {EVENT_HISTORY.qualified_name} order by event_id")
            return pd.DataFrame(list(cursor.fetchall()), columns=list(EVENT_HISTORY.column_names))
        finally:
            connection.close()

    @cached_property
    def s3(self) -> Any:
        return _closed_later(boto3.client("s3", endpoint_url=self.s3_endpoint))

    def staged(self) -> dict[str, bytes]:
        """Every object below the prefix, by the end of its key."""
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{self.database}/").get("Contents", [])
        bodies = {it["Key"]: self.s3.get_object(Bucket=BUCKET, Key=it["Key"])["Body"].read() for it in found}
        return {key.removeprefix(f"{self.database}/"): body for key, body in bodies.items()}


def to_text(place: BigQueryPlace | RedshiftPlace) -> str:
    """What another process needs to reach `place`."""
    return json.dumps(asdict(place))


def from_text(text: str) -> BigQueryPlace | RedshiftPlace:
    facts = json.loads(text)
    return BigQueryPlace(**facts) if facts["name"] == "bigquery" else RedshiftPlace(**facts)
