"""Takes a crawl item out for good, as a law or its owner may ask; docs/crawl.md."""

from ingestion_pipeline.storage.postgres import Postgres

_REMOVE = "select community.remove_crawl_item(%s, %s, %s)"


def remove_item(postgres: Postgres, source_id: str, external_id: str, *, by: str) -> bool:
    """Removes the item, its revisions and what was refused of it; sent again, it stays away. Was it there?"""
    with postgres.transaction() as connection:
        ((was_there,),) = connection.execute(_REMOVE, [source_id, external_id, by]).fetchall()
    return bool(was_there)
