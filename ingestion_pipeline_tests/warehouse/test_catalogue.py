"""Which warehouse the settings name, and what they say when something is missing."""

import sys
from typing import Any

import pytest

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.warehouses.bigquery import BigQuery
from ingestion_pipeline.storage.warehouses.catalogue import PACKAGES, warehouse
from ingestion_pipeline.storage.warehouses.redshift import Redshift

BIGQUERY = {"WAREHOUSE": "bigquery", "BIGQUERY_PROJECT_ID": "p"}
REDSHIFT = {
    "WAREHOUSE": "redshift",
    "REDSHIFT_HOST": "cluster.example",
    "REDSHIFT_PASSWORD": "canary-password",
    "REDSHIFT_S3_URL": "s3://bucket/prefix",
}


def named(**variables: str) -> Any:
    return warehouse(Settings.from_environment(variables), EVENT_HISTORY)


def test_the_settings_name_the_warehouse() -> None:
    """Nothing is connected yet, and closing it opens nothing: there are no credentials."""
    assert named(WAREHOUSE="") is None
    for variables, kind in ((BIGQUERY, BigQuery), (REDSHIFT, Redshift)):
        chosen = named(**variables)
        assert isinstance(chosen, kind)
        chosen.close()


@pytest.mark.parametrize(
    ("variables", "missing"),
    [(BIGQUERY, name) for name in BIGQUERY if name != "WAREHOUSE"]
    + [(REDSHIFT, name) for name in REDSHIFT if name != "WAREHOUSE"],
    ids=lambda it: it if isinstance(it, str) else it["WAREHOUSE"],
)
def test_a_missing_setting_is_named(variables: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        named(**{**variables, missing: ""})


@pytest.mark.parametrize("variables", [BIGQUERY, REDSHIFT], ids=["bigquery", "redshift"])
def test_packages_that_are_not_installed_are_named(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are an extra: who copies nothing does without them."""
    name: Any = variables["WAREHOUSE"]
    monkeypatch.setitem(sys.modules, PACKAGES[name][0], None)
    with pytest.raises(ConfigurationError, match=rf"pip install -e '\.\[{name}\]'"):
        named(**variables)
