"""The `ingestion-pipeline` command: arguments in, sentences and exit codes out. The work is done below it.

Exit codes: 0 done; 1 something failed (a run, a check of the data, a migration); 2 a wrong argument or setting; 3 a
store or provider cannot be reached, so trying again later may help; 130 stopped by Ctrl-C.
"""

import json
import shlex
import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as RichTable

from ingestion_pipeline.commands import alerts, crawl, deliveries, events, imports, jobs, sales
from ingestion_pipeline.commands.intake import tokens
from ingestion_pipeline.commands.stores import DAY, command_settings, opened_postgres
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, IngestionError, TransientError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.settings import Provider, Settings, export

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingestion_pipeline.storage.database import Purpose

FAILED, WRONG, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
CLOSES, BLOCKS, FEWEST_BLOCKS = 30, "▁▂▃▄▅▆▇█", 5

app = typer.Typer(
    help="Ingests market, property and event data into PostgreSQL and a Delta lake, orchestrated by Dagster.\n\n"
    "Settings are environment variables; `ingestion-pipeline settings` lists them. Without DATABASE_URL an embedded "
    "PostgreSQL is started and stopped as needed.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong argument or setting, 3 a store or provider cannot be reached, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(tokens, name="tokens")
app.add_typer(jobs.jobs, name="jobs")
app.add_typer(deliveries.deliveries, name="deliveries")
app.add_typer(alerts.alerts, name="alerts")
app.add_typer(imports.app, name="import")
app.add_typer(sales.sales, name="sales")
app.add_typer(crawl.crawl, name="crawl")
for command in (events.replay, events.erase, events.export):
    app.command()(command)
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the command; an error of ours is one line on standard error and an exit code."""
    try:
        app()
    except ConfigurationError as error:
        _fail(str(error), WRONG)
    except TransientError as error:
        _fail(str(error), UNREACHABLE)
    except IngestionError as error:
        _fail(str(error), FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


@app.command()
def demo(
    provider: Annotated[
        Provider | None, typer.Option(help="Where bars come from; INGESTION_PROVIDER by default")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="Folder of bar files; implies --provider file")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days of history, for providers that are not files")
    ] = None,
) -> None:
    """Ingest bars, build every market asset over its partitions, print what was built. Finite."""
    from ingestion_pipeline.demo import demo_choice, demo_environment, demo_windows, run_demo

    choice = demo_choice(provider, path)
    export(choice)
    settings = command_settings()
    windows = demo_windows(settings, days=days)
    environment = demo_environment(settings, windows)
    with _database(settings) as database:
        export(database | environment)
        outcome = run_demo(windows, tell=lambda text: out.print(text, markup=False))
    _print_outcome(outcome)
    if outcome.problems:
        raise typer.Exit(FAILED)
    _print_where_to_look(settings, choice | environment)


@app.command()
def up() -> None:
    """Start PostgreSQL, code location, webserver, daemon and HTTP intake. Ctrl-C or SIGTERM stops them all."""
    from ingestion_pipeline.intake.generated_secrets import embedded_secrets
    from ingestion_pipeline.orchestration.stack import run_stack
    from ingestion_pipeline.providers.alerts import require_targets

    def tell(text: str) -> None:
        out.print(text, markup=False)

    settings = command_settings()
    require_targets(settings)
    with _database(settings) as environment, _watched_database(settings):
        code = run_stack(settings, environment | embedded_secrets(settings, tell=tell), tell=tell)
    raise typer.Exit(code)


@app.command()
def intake() -> None:
    """Serve the HTTP intake alone, to stay. Ctrl-C or SIGTERM ends it when every request is answered."""
    from ingestion_pipeline.commands.intake import serve_intake

    serve_intake(command_settings(), tell=lambda text: out.print(text, markup=False))


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = command_settings()
    with _database(settings) as environment:
        export(environment)
        from dagster import DagsterInstance

        with DagsterInstance.get() as instance:
            instance.upgrade()
    out.print("the database has the newest schema")


@app.command()
def check() -> None:
    """Try database, Redis, lake and provider; say which fails and why."""
    from ingestion_pipeline.checkup import checkup

    results = checkup(command_settings())
    for result in results:
        mark = "[green]ok[/]  " if result.ok else "[red]FAIL[/]"
        out.print(f"{mark}  {result.part:<9} {escape(result.text)}")
    if any(result.is_permanent for result in results):
        raise typer.Exit(WRONG)
    raise typer.Exit(0 if all(result.ok for result in results) else UNREACHABLE)


@app.command()
def backfill(
    domain: Annotated[str, typer.Argument(help="Whose partitions: market")],
    first: Annotated[datetime, typer.Option("--from", formats=[DAY], help="First UTC day")],
    last: Annotated[datetime, typer.Option("--to", formats=[DAY], help="Last UTC day")],
    again: Annotated[bool, typer.Option(help="Build also what has been built")] = False,
    days_per_run: Annotated[int, typer.Option(min=1, help="Partitions in one run")] = 90,
) -> None:
    """Build the daily and weekly partitions of a domain. Broken off, it goes on where it stopped."""
    from ingestion_pipeline.backfill import run_backfill

    settings = command_settings()
    window = _window(first.date(), last.date(), settings)
    if domain != "market":
        raise ConfigurationError("DOMAIN", domain, "market")
    with _database(settings, purpose="run") as environment:
        export(environment)
        outcome = run_backfill(window, again=again, days_per_run=days_per_run, console=out)
    _print_outcome(outcome)
    raise typer.Exit(FAILED if outcome.problems else 0)


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line")] = False,
) -> None:
    """The latest snapshot of every configured market, and its last daily closes."""
    from ingestion_pipeline.domains.market.reads import daily_bars, latest_snapshot
    from ingestion_pipeline.storage.cache import cache
    from ingestion_pipeline.storage.lake import Lake

    settings = command_settings()
    ttl = settings.cache_ttl_seconds
    with opened_postgres(settings) as postgres:
        values, lake = cache(settings), Lake(settings)
        rows = {
            symbol: latest_snapshot(values, postgres, symbol, ttl_seconds=ttl) for symbol in settings.ingestion_markets
        }
    closes = {
        symbol: [bar["close"] for bar in daily_bars(values, lake, symbol, days=CLOSES, ttl_seconds=ttl)][-CLOSES:]
        for symbol in rows
    }
    if as_json:
        for symbol, row in rows.items():
            if row:
                typer.echo(json.dumps({**row, "closes": closes[symbol]}))
        return
    _print_snapshots(rows, closes)


@app.command()
def rejects(limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first")] = 20) -> None:
    """The rows that were refused, with the reason."""
    with opened_postgres() as postgres:
        rows = postgres.read("recent_rejects", {"limit": limit})
    if not rows:
        out.print("no rejects")
    for row in rows:
        out.print(
            f"{row['reject_id']}  {row['last_seen_at']:%Y-%m-%d %H:%M:%S}  {row['source']}  {row['reason']}  "
            f"{json.dumps(row['payload'])}",
            markup=False,
        )


@app.command()
def env() -> None:
    """Print the exports that plain Dagster commands need, starting the embedded server to stay.

    Use it as: eval "$(ingestion-pipeline env)"; stop the server with `ingestion-pipeline stop`.
    """
    with _database(command_settings(), purpose="run", keep_running=True) as environment:
        for name, value in environment.items():
            typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def stop() -> None:
    """Stop the embedded PostgreSQL that `env` left running."""
    from ingestion_pipeline.storage.database import require_writable_home
    from ingestion_pipeline.storage.embedded import stop_when_unused

    settings = command_settings()
    require_writable_home(settings)
    if stop_when_unused(settings.ingestion_home / "postgres"):
        out.print("the embedded PostgreSQL is stopped")
    else:
        _fail("the embedded PostgreSQL serves other clients; stop those first", FAILED)


@app.command()
def settings() -> None:
    """List every environment variable, what it is for and its default."""
    from ingestion_pipeline.settings import variables

    for name, text in variables().items():
        default = Settings.model_fields[name.lower()].default
        shown = ",".join(default) if isinstance(default, tuple) else default
        out.print(f"{name:<28} {text}" + (f" (default {shown})" if shown not in (None, "") else ""), markup=False)


@contextmanager
def _database(
    settings: Settings, *, purpose: "Purpose" = "prepare", keep_running: bool = False
) -> "Iterator[dict[str, str]]":
    from ingestion_pipeline.storage.database import database

    with database(settings, purpose=purpose, keep_running=keep_running) as environment:
        yield environment


def _watched_database(settings: Settings) -> AbstractContextManager[None]:
    from ingestion_pipeline.storage.embedded import kept_alive

    return nullcontext() if settings.database_url else kept_alive(settings.ingestion_home / "postgres")


def _window(first: date, last: date, settings: Settings) -> Window:
    if first < settings.ingestion_first_day:
        raise ConfigurationError("--from", str(first), f"INGESTION_FIRST_DAY ({settings.ingestion_first_day}) or later")
    if last < first or last > utc_now().date():
        raise ConfigurationError("--to", str(last), f"a day from {first} to today ({utc_now().date()}, UTC)")
    return Window.of_days(first, last)


def _print_outcome(outcome: Any) -> None:
    table = RichTable(header_style="bold")
    table.add_column("Asset", no_wrap=True)
    for heading in ("Rows", "Partitions", "Seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Checks", justify="right")
    for name, asset in sorted(outcome.assets.items()):
        checks = f"{asset.checks_passed} passed"
        checks += f", {asset.checks_warned} warned" if asset.checks_warned else ""
        checks += f", {asset.checks_failed} failed" if asset.checks_failed else ""
        table.add_row(
            name,
            f"{asset.rows:,}",
            f"{len(asset.partitions):,}" if asset.partitions else "",
            f"{asset.seconds:.1f}",
            checks,
        )
    _print_table(table)
    for problem in outcome.problems:
        err.print(problem, style="red", markup=False)


def _print_where_to_look(settings: Settings, choice: dict[str, str]) -> None:
    """What was built, and what a next command has to be told to see it too."""
    home = settings.ingestion_home
    is_default_home = home == Settings.model_fields["ingestion_home"].default
    exports = ({} if is_default_home else {"INGESTION_HOME": str(home.resolve())}) | choice
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    if lines:
        lines = ["First, in the shell of the next commands:", *lines, ""]
    lines += [
        f"{settings.lake_root}  the lake: bars and OHLC as Delta tables",
        "ingestion-pipeline show  the latest snapshots",
        f"make up  the Dagster UI at http://{settings.webserver_host}:{settings.webserver_port}",
    ]
    for line in ["", *lines]:
        out.print(line, markup=False, soft_wrap=True)


def _print_snapshots(rows: dict[str, dict[str, Any] | None], closes: "dict[str, list[float]]") -> None:
    """On a narrow terminal the sparklines have what the numbers leave."""
    most = CLOSES if any(closes.values()) else 0
    table = _snapshot_table(rows, closes, blocks=most, gap=2)
    if out.is_terminal and _width(table) > out.width:
        left = out.width - _width(_snapshot_table(rows, closes, blocks=0, gap=1)) - 1
        table = _snapshot_table(rows, closes, blocks=min(left, most), gap=1)
    _print_table(table)


def _print_table(table: RichTable) -> None:
    """On a terminal it is fitted; a pipe or a file is as wide as the table."""
    if not out.is_terminal:
        table.width = _width(table)
    out.print(table)


def _width(table: RichTable) -> int:
    return Measurement.get(out, out.options.update(width=1000), table).maximum


def _snapshot_table(
    rows: dict[str, dict[str, Any] | None], closes: "dict[str, list[float]]", *, blocks: int, gap: int
) -> RichTable:
    table = RichTable(header_style="bold", box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for heading in ("Market", "As of (UTC)"):
        table.add_column(heading, no_wrap=True)
    for heading in ("Price", "24 h", "7 d", "30 d", "Volatility"):
        table.add_column(heading, justify="right", no_wrap=True)
    has_lines = blocks >= FEWEST_BLOCKS
    if has_lines:
        table.add_column(f"{CLOSES} days", no_wrap=True)
    for symbol, row in rows.items():
        cells = _snapshot_cells(row) if row else ["no snapshot yet", *[""] * 5]
        table.add_row(symbol, *cells, *([_sparkline(closes[symbol], blocks)] if has_lines else []))
    return table


def _snapshot_cells(row: dict[str, Any]) -> list[str]:
    as_of = datetime.fromisoformat(row["as_of"])
    changes = [row["change_24h_ratio"], row["roi_7d_ratio"], row["roi_30d_ratio"]]
    shares = ["" if share is None else f"{share:+.2%}" for share in changes]
    volatility = "" if row["volatility_ratio"] is None else f"{row['volatility_ratio']:.2%}"
    return [f"{as_of:%Y-%m-%d %H:%M}", f"{row['price']:,.6g}", *shares, volatility]


def _sparkline(closes: "Sequence[float]", blocks: int) -> str:
    """One block a close; where there are more closes than blocks, the last of each block's share."""
    if len(closes) > blocks:
        closes = [closes[(i + 1) * len(closes) // blocks - 1] for i in range(blocks)]
    low, high = min(closes, default=0.0), max(closes, default=0.0)
    steps = len(BLOCKS) - 1
    return "".join(
        BLOCKS[round((close - low) / (high - low) * steps) if high > low else steps // 2] for close in closes
    )


def _fail(text: str, code: int) -> None:
    err.print(text, style="red", markup=False)
    raise SystemExit(code)
