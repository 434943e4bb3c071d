"""The two processes keep apart: what serves HTTP does not know Dagster, and Dagster's does not know HTTP."""

import pytest

from ingestion_pipeline.asgi import application_scopes, create_app
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.children import python

LOADED = """
import sys
import {module}
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {{{unwanted}}}), end="")
"""


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("ingestion_pipeline.asgi", '"dagster", "dagster_postgres", "pandas", "ibis", "duckdb"'),
        ("ingestion_pipeline.intake.server", '"dagster", "pandas"'),
        ("ingestion_pipeline.definitions", '"fastapi", "starlette", "granian"'),
        # every run pays for what definitions.py loads: heavy libraries are imported where they are used
        ("ingestion_pipeline.definitions", '"pandas", "ibis", "duckdb", "apprise", "exchange_calendars"'),
    ],
)
def test_a_process_loads_only_what_is_its_own(module: str, unwanted: str) -> None:
    """Asked of a new interpreter: what a test has imported does not count."""
    with python(LOADED.format(module=module, unwanted=unwanted)) as child:
        text, _ = child.communicate()
    assert (0, "[]") == (child.returncode, text.splitlines()[-1])


def test_without_a_database_there_is_no_application() -> None:
    """Embedded or not, who starts it says where."""
    unset = {"DATABASE_URL": "", "INTAKE_DATABASE_URL": ""}
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        create_app(Settings.from_environment(unset))


def test_the_intake_s_own_login_comes_first(settings: Settings) -> None:
    url = "postgresql://pipeline_intake@h/d"
    app = create_app(Settings.from_environment({"DATABASE_URL": "postgresql://u@h/d", "INTAKE_DATABASE_URL": url}))
    (route,) = app.router.routes
    assert url == route._services.database_url


def test_scopes_are_those_of_the_endpoints() -> None:
    """Kinds of callers are none: no token makes a person or the scheduler of an application."""
    scopes = application_scopes("postgresql://u@h/d")
    assert {"events:write"} <= scopes
    assert not {"public", "scheduler", "person", "*"} & scopes
