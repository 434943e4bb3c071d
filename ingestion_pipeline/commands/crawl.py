"""The commands of whoever answers for crawl items: take one out for good."""

from typing import Annotated

import typer

from ingestion_pipeline.commands.stores import opened_postgres, operator

crawl = typer.Typer(help="Crawl items: what partners' crawlers have sent.", no_args_is_help=True)


@crawl.callback()
def _group() -> None:
    """Crawl items: what partners' crawlers have sent."""


@crawl.command()
def remove(
    *,
    source_id: Annotated[str, typer.Option("--source", help="Its sourceId")],
    external_id: Annotated[str, typer.Option("--id", help="Its externalId")],
) -> None:
    """Remove an item with its revisions, for good: sent again, it is not stored. Not there yet, it never will be."""
    from ingestion_pipeline.domains.community.crawl_removal import remove_item

    with opened_postgres() as postgres:
        was_there = remove_item(postgres, source_id, external_id, by=operator())
    typer.echo("removed; searches find it for up to a minute" if was_there else "it was not there, and stays away")
