"""What nobody needs any more is removed from the inbox: refused deliveries, sources that are gone. Audited."""

from dataclasses import asdict

from psycopg.types.json import Jsonb

from ingestion_pipeline.domains.operations.delivery_replay import AUDIT, SELECTED, Selection
from ingestion_pipeline.storage.postgres import Postgres

_COUNT = f"select count(*) from operations.deliveries where {SELECTED}"
_DISCARD = f"delete from operations.deliveries where {SELECTED}"
_FORGET = "delete from operations.delivery_sources where source = %s"


def discard(postgres: Postgres, selection: Selection, *, by: str, is_dry_run: bool = False) -> int:
    """Removes the refused deliveries of `selection`, and with them the memory of their keys; returns how many."""
    with postgres.transaction() as connection:
        if is_dry_run:
            (count,) = connection.execute(_COUNT.encode(), asdict(selection)).fetchone() or (0,)
            return int(count)
        count = connection.execute(_DISCARD.encode(), asdict(selection)).rowcount
        if count:
            details = {"discarded": count, "selection": selection.given()}
            connection.execute(AUDIT, [by, "deliveries discarded", None, Jsonb(details)])
        return count


def forget_source(postgres: Postgres, source: str, *, by: str) -> bool:
    """Expects `source` no longer, until it delivers again; False if nobody knows it."""
    with postgres.transaction() as connection:
        is_known = connection.execute(_FORGET, [source]).rowcount == 1
        if is_known:
            connection.execute(AUDIT, [by, "source forgotten", None, Jsonb({"source": source})])
        return is_known
