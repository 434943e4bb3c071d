"""The one place that maps WAREHOUSE to an implementation; each is imported only when it is chosen."""

from importlib import import_module
from typing import TypeVar

from pydantic import SecretStr

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.warehouses.base import Warehouse, WarehouseName

T = TypeVar("T", str, SecretStr)

PACKAGES: dict[WarehouseName, tuple[str, ...]] = {
    "bigquery": ("google.cloud.bigquery", "google.cloud.bigquery_storage_v1"),
    "redshift": ("redshift_connector", "boto3"),
}


def warehouse(settings: Settings, table: Table) -> Warehouse | None:
    """The warehouse that holds a copy of `table`, None if none is configured.

    Raises:
        ConfigurationError: a setting that it needs is missing or wrong, or its packages are not installed.
    """
    if settings.warehouse is None:
        return None
    _require_packages(settings.warehouse)
    if settings.warehouse == "bigquery":
        from ingestion_pipeline.storage.warehouses.bigquery import BigQuery

        return BigQuery(
            table,
            project=_required("BIGQUERY_PROJECT_ID", settings.bigquery_project_id, "the project that pays"),
            dataset=settings.bigquery_dataset_id,
            endpoint=settings.bigquery_endpoint,
        )
    import redshift_connector

    from ingestion_pipeline.storage.warehouses.redshift import Redshift, connected_to
    from ingestion_pipeline.storage.warehouses.s3_stage import S3Stage

    password = _required("REDSHIFT_PASSWORD", settings.redshift_password, "the password of REDSHIFT_USER")
    return Redshift(
        table,
        stage=S3Stage(
            _required("REDSHIFT_S3_URL", settings.redshift_s3_url, "s3://bucket/prefix"), settings.s3_endpoint_url
        ),
        iam_role=settings.redshift_iam_role,
        connect=connected_to(
            host=_required("REDSHIFT_HOST", settings.redshift_host, "the address of the cluster"),
            port=settings.redshift_port,
            database=settings.redshift_database,
            user=settings.redshift_user,
            password=password,
        ),
        error=redshift_connector.Error,
    )


def _require_packages(name: WarehouseName) -> None:
    for package in PACKAGES[name]:
        try:
            import_module(package)
        except ImportError as error:
            expected = f"its packages: `pip install -e '.[{name}]'` in the environment of the workers"
            raise ConfigurationError("WAREHOUSE", name, expected) from error


def _required(variable: str, value: T | None, expected: str) -> T:
    if value is None:
        raise ConfigurationError(variable, "", expected)
    return value
