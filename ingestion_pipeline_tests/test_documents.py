"""The documents are true: their commands run, their links lead somewhere, their tables say what the code says.

A fenced block marked `sh` or `sql` is executed, in the order of its document, on one small pipeline of this module's own;
with the mark `intake` its HTTP intake runs meanwhile. A block marked `json answer` is what the block before it prints; `"…"`
in it stands for anything. A block marked `sh no-run` is not executed, and NOT_RUN says why. After a change of Settings:
`python -m ingestion_pipeline_tests.test_documents` writes the table of docs/settings.md.
"""

import json
import os
import re
import shlex
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import typer.main

from ingestion_pipeline.cli import app
from ingestion_pipeline.domains.community.content_tables import TABLES as CONTENT_TABLES
from ingestion_pipeline.domains.community.donations_tables import TABLES as DONATION_TABLES
from ingestion_pipeline.domains.community.leaderboard_tables import TABLES as LEADERBOARD_TABLES
from ingestion_pipeline.domains.community.rollup_tables import TABLES as ROLLUP_TABLES
from ingestion_pipeline.domains.events.tables import TABLES as EVENT_TABLES
from ingestion_pipeline.domains.market.tables import TABLES as MARKET_TABLES
from ingestion_pipeline.domains.property.tables import TABLES as PROPERTY_TABLES
from ingestion_pipeline.domains.property.valuation_tables import TABLES as VALUATION_TABLES
from ingestion_pipeline.domains.sales.tables import TABLES as SALES_TABLES
from ingestion_pipeline.settings import PROJECT_ROOT, Settings, variables
from ingestion_pipeline.storage import embedded
from ingestion_pipeline_tests.command import COMMAND, environment, eventually, free_port, run

TOP = [PROJECT_ROOT / f"{name}.md" for name in ("README", "RUNBOOK", "CONTRIBUTING", "CHANGELOG")]
DOCUMENTS = [*TOP, *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]
PICTURES = sorted((PROJECT_ROOT / "docs" / "pictures").glob("*"))
SETTINGS_PAGE = PROJECT_ROOT / "docs" / "settings.md"
MOST_PICTURE_BYTES = 300_000
DEMO_DAYS = "14"
# The block under this heading comes before every other of its document; that of the runbook before all SQL.
SHELLS = {"RUNBOOK.md": "A shell for looking", "events.md": "A shell"}
COMMUNITY_TABLES = (*DONATION_TABLES, *CONTENT_TABLES, *ROLLUP_TABLES, *LEADERBOARD_TABLES)
TABLES = (*MARKET_TABLES, *EVENT_TABLES, *PROPERTY_TABLES, *VALUATION_TABLES, *SALES_TABLES, *COMMUNITY_TABLES)

# By its first line: why a block is not executed here.
NOT_RUN = {
    "make demo    # .venv, pinned packages, embedded PostgreSQL, 693 days of mock bars through every asset; "
    "ends by itself": "installs packages; .ci/run runs both commands in a clone",
    "make up      # PostgreSQL, code location, webserver, daemon, HTTP intake; all schedules and sensors on; Ctrl-C stops it": (
        "runs until it is stopped; flows/test_up.py does that"
    ),
    "INGESTION_HOME=.data/mine .venv/bin/ingestion-pipeline demo --provider file --path ~/bars": (
        "the reader's own files; flows/test_real_bars.py reads files"
    ),
    'eval "$(.venv/bin/ingestion-pipeline env)"   # starts the embedded PostgreSQL to stay and exports its address': (
        "dagster dev runs until it is stopped"
    ),
    ".venv/bin/ingestion-pipeline stop && rm -rf .data    # the data only": "removes the checkout's own data",
    "make test      # makes .venv, installs what the lock files pin, runs every test": "would run itself",
    "git clone <repository> /opt/ingestion-pipeline && cd /opt/ingestion-pipeline": "needs the repository's address",
    "DATABASE_URL=postgresql://admin:secret@db:5432/pipeline \\": (
        "needs a server of the reader's own; storage/test_database.py does the same"
    ),
    'curl -H "Authorization: Bearer $JWT" -F file=@KDP_Dashboard-1.xlsx \\': "a report of one's own; README.md sends a sample",
    ".venv/bin/ingestion-pipeline deliveries forget a-source-that-is-gone": "there is no such source",
    "DATABASE_URL=postgresql://pipeline_worker:…@db:5432/pipeline": "lines of an environment, not a command",
    'for name in POSTGRES WORKER INTAKE DAGSTER; do echo "${name}_PASSWORD=$(openssl rand -hex 24)"; done >> .env': (
        "needs a container engine"
    ),
}

# A value that a reader may copy; `from_environment` accepts each.
EXAMPLES = {
    "DATABASE_URL": "postgresql://pipeline_worker:secret@db:5432/pipeline",
    "DAGSTER_PG_URL": "postgresql://dagster:secret@db:5432/pipeline_dagster",
    "WORKER_PASSWORD": "3f9c0d…",
    "DAGSTER_PASSWORD": "a71be2…",
    "INTAKE_DATABASE_URL": "postgresql://pipeline_intake:secret@db:5432/pipeline",
    "INTAKE_PASSWORD": "5b82d9…",
    "REDIS_URL": "redis://cache:6379/0",
    "INGESTION_HOME": "/srv/ingestion",
    "LAKE_URL": "s3://bucket/lake",
    "COMPUTE_ENGINE": "duckdb",
    "COMPUTE_MEMORY_LIMIT": "512MB",
    "INGESTION_PROVIDER": "file",
    "INGESTION_MARKETS": "BTC-USD,AAPL",
    "INGESTION_CRON_EXPRESSION": "*/5 * * * *",
    "INGESTION_LOOKBACK_DAYS": "90",
    "INGESTION_FIRST_DAY": "2020-01-06",
    "INGESTION_FILE_PATH": "/srv/bars",
    "RISK_FREE_RATE": "0.035",
    "PROVIDER_TIMEOUT_SECONDS": "30",
    "COINGECKO_URL": "https://proxy.example/coingecko",
    "COINGECKO_API_KEY": "CG-…",
    "BINANCE_URL": "https://proxy.example/binance",
    "EVENTS_MAX_BATCH": "5000",
    "EVENTS_HOT_DAYS": "14",
    "EVENTS_DEDUPLICATION_DAYS": "30",
    "EVENTS_USERS_TABLE": "public.users",
    "EVENTS_FUNNELS": "reading:VIEW>COPY;hiring:project.created>proposal.submitted",
    "GEOIP_DATABASE": "/srv/GeoLite2-Country.mmdb",
    "WAREHOUSE": "bigquery",
    "BIGQUERY_PROJECT_ID": "your-project",
    "BIGQUERY_DATASET_ID": "product_events",
    "BIGQUERY_ENDPOINT": "http://127.0.0.1:9050,http://127.0.0.1:9060",
    "REDSHIFT_HOST": "cluster.redshift.amazonaws.com",
    "REDSHIFT_PORT": "5440",
    "REDSHIFT_DATABASE": "events",
    "REDSHIFT_USER": "pipeline",
    "REDSHIFT_PASSWORD": "c40e17…",
    "REDSHIFT_S3_URL": "s3://bucket/events",
    "REDSHIFT_IAM_ROLE": "arn:aws:iam::123456789012:role/redshift-reads-events",
    "S3_ENDPOINT_URL": "http://127.0.0.1:9000",
    "FRED_API_KEY": "your-key-of-32-letters-and-digits",
    "FRED_URL": "https://proxy.example/fred",
    "FRED_SERIES": "MORTGAGE30US,UNRATE",
    "FUNDAMENTALS_MAX_STALENESS_DAYS": "60",
    "COMPS_MIN_RECENT": "5",
    "COMPS_RECENT_DAYS": "365",
    "WEBHOOK_SECRET": "a-secret-of-16-or-more,the-next-one-while-rotating",
    "WEBHOOK_SECRETS": "acme=a-secret-of-16-or-more,zeta=another-secret-of-16",
    "WEBHOOK_SILENCE": "24h,acme=1h,monthly-feed=40d",
    "DROP_URL": "s3://bucket/drop",
    "SALES_OWNER": "ada",
    "SALES_FILES_URL": "s3://bucket/reports",
    "SALES_DROP_URL": "s3://bucket/sales",
    "SALES_RATES_URL": "/srv/eurofxref-hist.csv",
    "SALES_KENP_RATES": "/srv/kenp_rates.csv",
    "GUMROAD_ACCESS_TOKEN": "b8f0c2…",
    "GUMROAD_URL": "https://proxy.example/gumroad",
    "GUMROAD_WINDOW_DAYS": "365",
    "GUMROAD_PING_SECRET": "an-unguessable-part-of-a-path",
    "STRIPE_WEBHOOK_SECRET": "whsec_the_new_one_8f2c,whsec_the_old_one_51ab",
    "ABUSE_USER_AGENTS": "HeadlessChrome,Scrapy",
    "ABUSE_EVENTS_PER_ADDRESS": "500",
    "TRENDING_HALF_LIFE_HOURS": "24",
    "JOB_WAIT_SECONDS": "60",
    "CACHE_TTL_SECONDS": "60",
    "CACHE_TTL_MACRO": "600",
    "CACHE_TTL_FUNDAMENTALS": "7200",
    "CACHE_TTL_COMPS": "3600",
    "CACHE_STALE_SECONDS": "3600",
    "ALERT_WEBHOOK_URL": "https://alerts.example/hook",
    "ALERT_TARGETS": "slack://…,mailto://…",
    "ALERT_MIN_SEVERITY": "error",
    "ALERT_REMINDER_MINUTES": "60",
    "ALERT_PRIVATE_TARGETS": "true",
    "LOG_LEVEL": "debug",
    "LOG_FORMAT": "json",
    "CRON_SECRET": "9d2e41…",
    "INGEST_APP_TOKEN": "app_1f6a09…",
    "JWT_SECRET": "the-secret-of-your-login-service-at-least-32-characters",
    "EVENTS_RATE_LIMIT": "600/minute",
    "CRAWL_RATE_LIMIT": "0",
    "TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
    "MAX_BODY_BYTES": "1000000",
    "BODY_TIMEOUT_SECONDS": "5",
    "MAX_JSON_DEPTH": "16",
    "INTAKE_CONNECTIONS": "8",
    "INTAKE_HOST": "0.0.0.0",
    "PORT": "8080",
    "INTAKE_WORKERS": "2",
    "CODE_LOCATION_HOST": "0.0.0.0",
    "CODE_LOCATION_PORT": "4300",
    "WEBSERVER_HOST": "0.0.0.0",
    "WEBSERVER_PORT": "3100",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its document, the heading above it, its marks (`sh no-run`), its text."""

    document: Path
    heading: str
    marks: tuple[str, ...]
    text: str
    answer: str = ""

    @property
    def first_line(self) -> str:
        return self.text.splitlines()[0]

    @property
    def is_run(self) -> bool:
        return self.marks[:1] in {("sh",), ("bash",), ("sql",)} and "no-run" not in self.marks


def blocks(document: Path) -> list[Block]:
    found, heading, opened, lines = [], "", None, []
    for line in document.read_text().splitlines():
        fence = re.fullmatch(r"\s*```(.*)", line)
        if fence and opened is None:
            opened, lines = tuple(fence[1].split()), []
        elif fence:
            indent = min((len(it) - len(it.lstrip()) for it in lines if it.strip()), default=0)
            text = "\n".join(it[indent:] for it in lines)
            if opened == ("json", "answer"):
                found[-1] = replace(found[-1], answer=text)
            else:
                found.append(Block(document, heading, opened, text))
            opened = None
        elif opened is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert opened is None, f"{document}: a fence is not closed"
    return found


BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
RUN = [block for block in BLOCKS if block.is_run]


def name(block: Block) -> str:
    return f"{block.document.name}:{block.heading}:{' '.join(block.first_line.split()[:3])}"


@dataclass
class Reader:
    """Somebody with a terminal in the checkout, after a short demo and one event. The server runs; the intake when wanted."""

    home: Path
    port: int = field(default_factory=free_port)
    intake: subprocess.Popen[bytes] | None = None

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """Types the block in."""
        if "intake" in block.marks:
            self.start()
        else:
            self.stop()
        kept = {it: os.environ[it] for it in ("PATH", "LANG", "LC_ALL") if it in os.environ}
        folder = str(self.home.parent)
        given = {**kept, "HOME": folder, "TMPDIR": folder, "INGESTION_HOME": str(self.home), "LOG_FORMAT": "json"}
        return subprocess.run(
            ["bash", "-c", self.here(script(block))],
            cwd=PROJECT_ROOT,
            env=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def here(self, text: str) -> str:
        """`text` with the addresses of this pipeline in place of the default ones."""
        return text.replace("127.0.0.1:8787", f"127.0.0.1:{self.port}").replace(".data/secrets", f"{self.home}/secrets")

    def start(self) -> None:
        if self.intake is None:
            log = self.home / "intake.log"
            with log.open("wb") as output:
                given = environment(self.home, PORT=str(self.port))
                self.intake = subprocess.Popen([*COMMAND, "intake"], env=given, stdout=output, stderr=output)
            eventually(self.is_healthy, explain=log.read_text)

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self.intake is not None:
            self.intake.terminate()
            assert self.intake.wait(30) == 0
            self.intake = None


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="ingestion-documents-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        done = run("demo", "--days", DEMO_DAYS, home=home)
        assert done.returncode == 0, done.stdout + done.stderr
        server = embedded.start(home / "postgres")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("select events.emit_platform_event('user.login', user_id => 'reader')")
        with psycopg.connect(server.url(database="postgres")):  # or the last command of a block would stop the server
            someone = Reader(home)
            yield someone
            someone.stop()
        embedded.stop_when_unused(home / "postgres")


def opening(document: str) -> str:
    return next(it.text for it in RUN if it.document.name == document and it.heading == SHELLS[document])


def script(block: Block) -> str:
    """What bash executes: the block, after the one that opens the shell of its document."""
    lines = ["set -euo pipefail"]
    if block.marks[0] == "sql" or (block.document.name == "RUNBOOK.md" and block.heading != SHELLS["RUNBOOK.md"]):
        lines.append(opening("RUNBOOK.md"))
    if block.document.name == "events.md" and block.heading != SHELLS["events.md"]:
        lines.append(opening("events.md"))
    if block.marks[0] == "sql":
        lines.append(f"psql --set ON_ERROR_STOP=1 --command {shlex.quote(block.text)}")
    else:
        lines.append(block.text)
    return "\n".join(lines)


def is_like(printed: object, said: object) -> bool:
    """Is `printed` what the document says? `"…"` stands for anything."""
    if said == "…":
        return True
    if isinstance(said, dict) and isinstance(printed, dict):
        return list(said) == list(printed) and all(is_like(printed[name], said[name]) for name in said)
    if isinstance(said, list) and isinstance(printed, list):
        return len(said) == len(printed) and all(map(is_like, printed, said))
    return said == printed


@pytest.mark.parametrize("block", RUN, ids=name)
def test_a_command_in_a_document_works(block: Block, reader: Reader) -> None:
    """Copied into a terminal in the checkout, it ends well, says nothing of an error and prints what is printed there."""
    done = reader.run(block)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if block.answer:
        assert is_like(json.loads(done.stdout), json.loads(block.answer)), done.stdout


def test_a_command_that_does_not_work_is_noticed(reader: Reader) -> None:
    """The test above can fail, in the middle of a block, in SQL and by another answer."""
    readme = PROJECT_ROOT / "README.md"
    for block in (
        Block(readme, "", ("sh",), "false\ntrue"),
        Block(readme, "", ("sql",), "select nothing from nowhere"),
        Block(readme, "", ("sh",), 'echo \'[{"id": 1, "n": 2}]\'', '[{"id": "…", "n": 3}]'),
    ):
        with pytest.raises(AssertionError):
            test_a_command_in_a_document_works(block, reader)


def test_every_block_that_is_not_run_has_a_reason() -> None:
    """And every reason has a block."""
    assert sorted(NOT_RUN) == sorted(block.first_line for block in BLOCKS if "no-run" in block.marks)
    # `js` and `shell` are the signing examples: test_webhooks_guide.py runs them
    assert {"sh", "sql", "text", "ini", "json", "python", "js", "shell"} >= {block.marks[0] for block in BLOCKS}


def anchor(heading: str) -> str:
    """As the usual renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def prose(document: Path) -> str:
    """The text without fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(document: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(document))


def anchors(document: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ +(.*)$", prose(document), flags=re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """To a file of the repository, and where they name a heading, to that heading."""
    broken = []
    for link in links(document):
        path, _, heading = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not link.startswith("https://") and (
            not target.exists() or (heading and heading not in anchors(target)) or PROJECT_ROOT not in target.parents
        ):
            broken.append(link)
    assert [] == broken


def test_every_document_can_be_reached_from_the_readme() -> None:
    """A page that nobody finds is not read."""
    reached, waiting = set(), [PROJECT_ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        found = {(document.parent / link.partition("#")[0]).resolve() for link in links(document) if "://" not in link}
        found |= {folder / "README.md" for folder in found if folder.is_dir()}
        waiting += [path for path in found if path.suffix == ".md" and path.is_file() and path not in reached]
    assert [] == [str(path) for path in DOCUMENTS if path not in reached]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_pictures_are_shown_and_small(picture: Path) -> None:
    """A PNG that some document shows, large enough to read and small enough to load."""
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert min(width, height) >= 400
    assert len(content) < MOST_PICTURE_BYTES
    shown = {(document.parent / link).resolve() for document in DOCUMENTS for link in links(document)}
    assert picture in shown


def test_make_targets_that_are_named_exist() -> None:
    """In every document."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (PROJECT_ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        it
        for document in DOCUMENTS
        for code in (*re.findall(r"`([^`\n]+)`", document.read_text()), *(block.text for block in blocks(document)))
        for it in re.findall(r"(?:^|[\s&;])make ([a-z][a-z-]*)", code)
    }
    assert {"demo", "test", "up"} <= named
    assert named <= targets


def commands() -> dict[str, Any]:
    """Every command by its words: `tokens create` is one."""
    found: dict[str, Any] = {}
    for word, it in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        found |= {f"{word} {sub}": its for sub, its in it.commands.items()} if hasattr(it, "commands") else {word: it}
    return found


def test_the_readme_lists_the_commands_and_their_options() -> None:
    """All that there are and no other."""
    readme = (PROJECT_ROOT / "README.md").read_text()
    rows = " ".join(re.findall(r"^\| (`ingestion-pipeline .*?) \|", readme, flags=re.MULTILINE))
    found, listed = commands(), {}
    for said in re.findall(r"`ingestion-pipeline ([^`]*)`", rows):
        first, second = [*said.split(), ""][:2]
        listed[f"{first} {second}" if f"{first} {second}" in found else first] = said
    assert sorted(found) == sorted(listed)
    for command, said in listed.items():
        options = {option for it in found[command].params for option in it.opts if option.startswith("--")}
        assert options == set(re.findall(r"--[a-z-]+", said)), command


def test_the_readme_lists_the_tables() -> None:
    """Key, store and partitions of each, and when it is stale."""
    readme = (PROJECT_ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+/\w+)` \| .* \| (.+) \| (.+) \| (\d+) h, (\d+) h \|$", readme, flags=re.MULTILINE)
    stores = {"postgres": "PostgreSQL", "lake": "lake"}
    partitions = {"none": "none", "daily": "UTC day", "weekly": "week"}
    expected = [
        (
            table.path,
            stores[table.store],
            partitions[table.partitioning],
            *(str(int(it.total_seconds()) // 3600) for it in (table.freshness.warn_after, table.freshness.fail_after)),
        )
        for table in TABLES
        if table.freshness
    ]
    assert sorted(expected) == sorted(rows)


def test_the_runbook_names_alerts_and_settings_as_they_are() -> None:
    """Every word in capitals with an underscore is a setting, of ours or of a store's own, or a constant of a library."""
    others = {"DAGSTER_HOME", "PGDATABASE", "GOOGLE_SERVICE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME", "TABLE", "VERSION"}
    others |= {"AZURE_STORAGE_ACCOUNT_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}
    others |= {"AWS_ENDPOINT_URL", "POSTGRES_PASSWORD", "EXAMPLES"}
    for page in ("README", "RUNBOOK", "CHANGELOG", "docs/deployment", "docs/events", "docs/architecture"):
        document = PROJECT_ROOT / f"{page}.md"
        words = set(re.findall(r"`([A-Z0-9]+(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", document.read_text()))
        assert words <= {*variables(), *others}


def test_no_document_names_a_package_index() -> None:
    """Where packages come from is the installer's own setting."""
    hosts = re.compile(
        r"pypi\.|pythonhosted|--index-url|--extra-index|conda\.anaconda|docker\.io|ghcr\.io|quay\.io", re.IGNORECASE
    )
    assert [] == [str(path) for path in DOCUMENTS if hosts.search(path.read_text())]


def settings_table() -> str:
    """The table of docs/settings.md."""
    rows = ["| variable | default | meaning | example |", "|---|---|---|---|"]
    for variable, meaning in variables().items():
        default = Settings.model_fields[variable.lower()].default
        rows.append(f"| `{variable}` | {code(default)} | {meaning} | `{EXAMPLES[variable]}` |")
    return "\n".join(rows)


def code(default: object) -> str:
    if default is None or default in {"", ()}:
        return "unset"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{default.relative_to(PROJECT_ROOT)}`" if isinstance(default, Path) else f"`{default}`"


def with_table(page: str, table: str) -> str:
    """`page` with `table` in the place of its own."""
    return re.sub(r"^\| variable \|.*?(?=\n\n)", lambda _: table, page, count=1, flags=re.MULTILINE | re.DOTALL)


def test_the_settings_page_is_what_settings_say() -> None:
    """Every variable with default, meaning and an example that is accepted."""
    assert list(EXAMPLES) == list(variables())
    Settings.from_environment(EXAMPLES)
    assert settings_table() in SETTINGS_PAGE.read_text()
    assert SETTINGS_PAGE.read_text() == with_table(SETTINGS_PAGE.read_text(), settings_table())


if __name__ == "__main__":
    SETTINGS_PAGE.write_text(with_table(SETTINGS_PAGE.read_text(), settings_table()))
