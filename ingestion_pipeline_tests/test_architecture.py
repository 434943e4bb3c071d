"""What no tool enforces: one name for one thing, documents that say all there is, files that the layout fixes.

Layers and banned calls are import-linter's and ruff's (pyproject.toml), not repeated here.
"""

import ast
import os
import pkgutil
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import dagster as dg
import msgspec
import pytest
import typer.main
import yaml

import benchmarks
from ingestion_pipeline import domains
from ingestion_pipeline.cli import app
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.events.contracts import Event
from ingestion_pipeline.domains.events.contracts_openapi import EVENT
from ingestion_pipeline.orchestration.specs import table_metadata
from ingestion_pipeline.orchestration.stack import programs
from ingestion_pipeline.settings import PROJECT_ROOT, Settings, variables

PACKAGE = PROJECT_ROOT / "ingestion_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
DOMAINS = [module.name for module in pkgutil.iter_modules(domains.__path__)]
LOCKS = sorted(PROJECT_ROOT.glob("requirements*.lock"))
DOCUMENTS = [PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]
LONGEST_MODULE = 430
REQUIRED_PACKAGES = {"dagster", "sqlalchemy", "pandas", "pydantic", "httpx", "redis", "fastapi", "granian", "deltalake"}


def modules(domain: str, name: str) -> list[ModuleType]:
    """The modules of `domain` whose names end with `name`."""
    paths = sorted((PACKAGE / "domains" / domain).glob(f"*{name}.py"))
    return [import_module(f"ingestion_pipeline.domains.{domain}.{path.stem}") for path in paths]


def domain_tables() -> dict[str, tuple[str, Table]]:
    """Of every domain, by path: the constant's name and the table."""
    return {
        value.path: (name, value)
        for domain in DOMAINS
        for module in modules(domain, "tables")
        for name, value in vars(module).items()
        if isinstance(value, Table)
    }


TABLES = domain_tables()
ASSETS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_every_asset_has_a_table_and_every_table_an_asset() -> None:
    """Know one, find the other."""
    assert sorted(TABLES) == sorted(ASSETS)


@pytest.mark.parametrize("path", sorted(TABLES))
def test_asset_table_function_constant_and_folder_have_one_name(path: str) -> None:
    """`market/ohlc_daily` = `market.ohlc_daily` = OHLC_DAILY = `ohlc_daily()` in domains/market/…assets.py."""
    constant, table = TABLES[path]
    assert (f"{table.domain}/{table.name}", table.name.upper()) == (path, constant)
    (asset,) = [vars(module)[table.name] for module in modules(table.domain, "assets") if table.name in vars(module)]
    assert [path] == [key.to_user_string() for key in asset.keys]
    assert (table.domain, table.qualified_name) == (
        ASSETS[path].group_name,
        ASSETS[path].metadata["dagster/table_name"],
    )


@pytest.mark.parametrize("path", sorted(TABLES))
def test_an_asset_shows_the_columns_of_its_table(path: str) -> None:
    """Name, type, unit and constraints of each, in the same order."""
    _, table = TABLES[path]
    shown: dg.TableSchema = ASSETS[path].metadata["dagster/column_schema"]
    assert table_metadata(table)["dagster/column_schema"] == shown
    assert list(table.column_names) == [column.name for column in shown.columns]
    assert [] == [column.name for column in shown.columns if not column.description]


def test_the_document_of_an_event_has_the_fields_of_an_event() -> None:
    """What OpenAPI says and what is read are two declarations of one shape."""
    fields = {field.encode_name: field.required for field in msgspec.structs.fields(Event)}
    assert fields == {name: name in EVENT["required"] for name in EVENT["properties"]}


def documents() -> str:
    return "\n".join(path.read_text() for path in DOCUMENTS)


def mentioned(word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", documents()) is not None


def test_every_setting_is_documented() -> None:
    """In the README or in docs/."""
    assert [] == [name for name in variables() if not mentioned(name)]


def test_every_command_is_documented() -> None:
    """As one would type it."""
    commands = sorted(typer.main.get_command(app).commands)
    ways = {name: (f"ingestion-pipeline {name}", f"make {name}") for name in commands}
    assert [] == [name for name, typed in ways.items() if not any(map(mentioned, typed))]


def test_every_benchmark_is_documented() -> None:
    """What it measures and what it found."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    assert [] == [name for name in names if not mentioned(name)]


def test_every_table_is_documented() -> None:
    """By its path or its name in SQL."""
    assert [] == [path for path in TABLES if not (mentioned(path) or mentioned(path.replace("/", ".")))]


def test_what_is_not_documented_is_noticed() -> None:
    """The tests above can fail, also for a word inside another."""
    assert not mentioned("NO_SUCH_SETTING")
    assert not mentioned("ATABASE_URL")


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}


def test_every_required_package_is_used_by_our_own_code() -> None:
    """A dependency that nothing imports would be for show."""
    names = {name.partition(".")[0] for path in MODULES for name in imported(path)}
    assert REQUIRED_PACKAGES <= names
    assert "pytest" in {
        name for path in (PROJECT_ROOT / "ingestion_pipeline_tests").rglob("*.py") for name in imported(path)
    }


def test_the_webserver_and_the_postgres_storage_of_dagster_are_used() -> None:
    """dagster-webserver is a part of `up`, beside our own intake; dagster-postgres is Dagster's own storage."""
    *dagsters, intake = programs(Settings.from_environment(), {})
    assert ["dagster", "dagster-webserver", "dagster-daemon"] == [Path(it.command[0]).name for it in dagsters]
    assert [sys.executable, "-m", "ingestion_pipeline", "intake"] == intake.command
    assert "postgres" in yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())["storage"]
    assert {"dagster-webserver", "dagster-postgres"} <= set(pinned(PROJECT_ROOT / "requirements.lock"))


def pinned(lock: Path) -> dict[str, list[str]]:
    """Of each package of a lock: the hashes of its files."""
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    found = {}
    for entry in entries:
        first, *hashes = [line.strip().removesuffix("\\").strip() for line in entry.splitlines()]
        name = re.fullmatch(r"([a-z0-9][a-z0-9._-]*)(\[[a-z0-9, _-]+\])?==[^\s;]+( ; .+)?", first)
        assert name, f"not pinned: {first}"
        found[name[1]] = hashes
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_every_package_with_hashes_and_names_no_host(lock: Path) -> None:
    """Whatever registry pip is configured for serves it, and can serve nothing else."""
    hashes = pinned(lock)
    assert [] == [name for name, lines in hashes.items() if not lines]
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for lines in hashes.values() for line in lines)
    assert not re.search(r"://|file:| @ |--index|--find-links|--trusted", lock.read_text())


def test_locks_agree_with_each_other() -> None:
    """What tests and benchmarks run is what is deployed."""
    assert {"requirements-bench.lock", "requirements-dev.lock", "requirements.lock"} <= {lock.name for lock in LOCKS}
    base, dev, bench = (
        set(re.findall(r"^[a-z0-9].*==[^\s;]+", (PROJECT_ROOT / f"requirements{it}.lock").read_text(), re.MULTILINE))
        for it in ("", "-dev", "-bench")
    )
    assert base <= dev <= bench


def test_top_level_has_the_names_that_the_card_fixes() -> None:
    """People and tools look for them there."""
    files = (
        "workspace.yaml",
        "dagster.yaml",
        "setup.py",
        "pyproject.toml",
        "docker-compose.yml",
        "README.md",
        "LICENSE",
    )
    folders = ("ingestion_pipeline", "ingestion_pipeline_tests", "sql", "docs", "benchmarks", "deploy")
    assert [] == [name for name in files if not (PROJECT_ROOT / name).is_file()]
    assert [] == [name for name in folders if not (PROJECT_ROOT / name).is_dir()]


def test_ci_is_a_script_that_runs_the_readme_s_commands() -> None:
    """In a clone, so that nothing installed by hand helps."""
    script = PROJECT_ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "git clone" in text
    assert text.index("make demo") < text.index("make test") < text.index("make check")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_is_and_is_short(path: Path) -> None:
    """A docstring first; no module grows beyond what one reads at a sitting."""
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LONGEST_MODULE


def test_folders_and_modules_say_what_they_hold() -> None:
    """`utils` says nothing."""
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "tools"}
    assert [] == [path for path in PACKAGE.rglob("*") if path.stem in nothing]


def test_domains_have_one_inner_shape() -> None:
    """The same role has the same name in every domain."""
    roles = {"contracts", "tables", "transforms", "assets", "checks", "automation", "routes", "definitions"}
    for domain in DOMAINS:
        names = {path.stem for path in (PACKAGE / "domains" / domain).glob("*.py")}
        assert "definitions" in names & roles
        assert [name for name in names if name == "automation" or name.endswith("_automation")]
        definitions = import_module(f"ingestion_pipeline.domains.{domain}.definitions")
        assert isinstance(definitions.defs, dg.Definitions)


def test_checks_schedules_and_sensors_are_named_after_their_domain() -> None:
    """A check is `<table>_<claim>`, a schedule `<domain>_<cadence>_schedule`, a sensor `<domain>_<what>_sensor`."""
    repository = defs.get_repository_def()
    for key in repository.asset_graph.asset_check_keys:
        assert key.name.startswith(f"{key.asset_key.path[-1]}_")
    starts = tuple(f"{domain}_" for domain in DOMAINS)
    for kind, named in (("schedule", repository.schedule_defs), ("sensor", repository.sensor_defs)):
        names = {it.name for it in named} - {"webhook_drop_sensor"}  # the issue's own name for it
        assert [] == [name for name in names if not (name.startswith(starts) and name.endswith(f"_{kind}"))]
