"""What nobody needs any more is removed from the inbox: refused deliveries, sources that are gone. Audited."""

from dataclasses import asdict

from ingestion_pipeline.domains.operations.delivery_replay import SELECTED, Selection
from ingestion_pipeline.storage.audit import write_audit
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
            write_audit(connection, actor=by, action="deliveries discarded", details=details)
        return count


def forget_source(postgres: Postgres, source: str, *, by: str) -> bool:
    """Expects `source` no longer, until it delivers again; False if nobody knows it."""
    with postgres.transaction() as connection:
        is_known = connection.execute(_FORGET, [source]).rowcount == 1
        if is_known:
            write_audit(connection, actor=by, action="source forgotten", details={"source": source})
        return is_known
