"""`ingestion-pipeline import`: the public files of Zillow, Redfin and Realtor.com into property.fundamentals."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestion_pipeline.commands.stores import DAY, command_settings, opened_postgres
from ingestion_pipeline.core.errors import ConfigurationError

if TYPE_CHECKING:
    from ingestion_pipeline.domains.property.files import PublishedFile

app = typer.Typer(
    no_args_is_help=True, help="Import a file of a publisher of property data. Importing it again changes nothing."
)

File = Annotated[Path, typer.Argument(help="The file as it was downloaded, gzip or not")]
Markets = Annotated[
    list[str] | None,
    typer.Option("--market", help="Only this market, as slug or slug=own name; repeatable. All without it"),
]
Since = Annotated[datetime | None, typer.Option(formats=[DAY], help="Only figures of this day or later")]
DryRun = Annotated[bool, typer.Option(help="Say which markets there are, store nothing")]


@app.command()
def zillow(
    file: File,
    metric: Annotated[str | None, typer.Option(help="What it measures, where its name does not say")] = None,
    market: Markets = None,
    since: Since = None,
    *,
    dry_run: DryRun = False,
) -> None:
    """Import a ZHVI (home values) or ZORI (rents) file of Zillow."""
    from ingestion_pipeline.domains.property.zillow import zillow_file

    _import("Zillow", lambda: zillow_file(file, metric=metric), market, since, dry_run=dry_run)


@app.command()
def redfin(file: File, market: Markets = None, since: Since = None, *, dry_run: DryRun = False) -> None:
    """Import a market tracker file (*.tsv000.gz) of Redfin."""
    from ingestion_pipeline.domains.property.redfin import redfin_file

    _import("Redfin", lambda: redfin_file(file), market, since, dry_run=dry_run)


@app.command()
def realtor(file: File, market: Markets = None, since: Since = None, *, dry_run: DryRun = False) -> None:
    """Import an RDC_Inventory_Core_Metrics file of Realtor.com."""
    from ingestion_pipeline.domains.property.realtor import realtor_file

    _import("Realtor.com", lambda: realtor_file(file), market, since, dry_run=dry_run)


def _import(
    source: str,
    look: "Callable[[], PublishedFile]",
    market: list[str] | None,
    since: datetime | None,
    *,
    dry_run: bool,
) -> None:
    from ingestion_pipeline.domains.property.imports import chosen_markets, import_file
    from ingestion_pipeline.storage.cache import cache

    settings = command_settings()
    found = look()
    markets = chosen_markets(found, _names(market or []))
    if dry_run:
        for slug in sorted(markets.values()):
            typer.echo(slug)
        return
    with opened_postgres(settings) as postgres:
        done = import_file(
            postgres,
            cache(settings),
            found,
            source=source,
            markets=markets,
            since=since.date() if since else None,
            max_age_days=settings.fundamentals_max_staleness_days,
        )
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(done.rows.items())) or "none"
    typer.echo(f"{done.rows.total()} figure(s) of {len(done.markets)} market(s): {counts}")
    if done.rejected:
        typer.echo(f"{done.rejected} rejected, first: {done.first_reason}")
    for reason, count in sorted(done.skipped.items()):
        typer.echo(f"{count} row(s) left out: {reason}")


def _names(markets: list[str]) -> Mapping[str, str]:
    """`slug` or `slug=own name`, as the slug and the name that it gets."""
    names: dict[str, str] = {}
    for text in markets:
        slug, mark, name = (part.strip() for part in text.partition("="))
        if not slug or (mark and not name) or slug in names:
            raise ConfigurationError("--market", text, "a different slug each time, or slug=own name")
        names[slug] = name or slug
    return names
