"""The audit log: one row per sensitive action, who did what, in which request, about whom. Rows are never changed.

Belongs here: how a row is added, in the transaction of what it tells. Does not belong here: which actions are told,
which those say who do them.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

AUDIT = """
insert into operations.audit_log (actor, action, subject_digest, request_id, details)
values (%(actor)s, %(action)s, %(subject_digest)s, %(request_id)s, %(details)s)
"""


def audit_row(
    *,
    actor: str,
    action: str,
    details: Mapping[str, object],
    request_id: str | None = None,
    subject_digest: str | None = None,
) -> dict[str, Any]:
    """What AUDIT takes. `subject_digest` is the SHA-256 of the id of the person whom it is about, in hexadecimals."""
    return {
        "actor": actor,
        "action": action,
        "subject_digest": subject_digest,
        "request_id": request_id,
        "details": Jsonb(dict(details)),
    }


def write_audit(
    connection: psycopg.Connection[Any],
    *,
    actor: str,
    action: str,
    details: Mapping[str, object],
    request_id: str | None = None,
    subject_digest: str | None = None,
) -> None:
    """Adds a row, as `audit_row` says."""
    row = audit_row(actor=actor, action=action, details=details, request_id=request_id, subject_digest=subject_digest)
    connection.execute(AUDIT, row)
