"""Gumroad's pings: a sale was made or changed. Gumroad signs nothing: the path is the secret, the sale is read back."""

import hmac
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ingestion_pipeline.domains.sales.inputs import SALE_ID
from ingestion_pipeline.domains.sales.jobs import PLATFORM_INGEST, SalesOptions, ingest_job
from ingestion_pipeline.intake.bodies import decode
from ingestion_pipeline.intake.endpoints import Answer, Call, json_answer
from ingestion_pipeline.intake.owners import acting_as
from ingestion_pipeline.intake.parameters import refused
from ingestion_pipeline.intake.problems import FieldError, Problem
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.uploads import FORM, type_of
from ingestion_pipeline.intake.waiting import enqueue
from ingestion_pipeline.storage.jobs import UNFINISHED

MOST_PINGED = 50
"""Sales that are read back one by one; beyond that, one job reads all that are new."""
_PINGED = f"""
select count(*) from (
    select from operations.jobs
    where
        owner_id = %s and job_type = '{PLATFORM_INGEST.name}' and status in {UNFINISHED} and unique_key is not null
        and input_data -> 'payload' ? 'sale_id'
    limit {MOST_PINGED}
) as counted
"""


class Pings:
    """Answers Gumroad."""

    def __init__(self, services: Services, options: SalesOptions) -> None:
        self._services, self._owner = services, options.owner
        self._secret = options.gumroad_ping_secret

    async def receive(self, call: Call) -> Answer:
        """POST /api/ingestion/gumroad/ping/{secret}. Answers at once: Gumroad waits 5 s."""
        if not self._secret or not hmac.compare_digest(call.path["secret"].encode(), self._secret.encode()):
            raise Problem(404, "there is nothing at this path")
        sale_id = _sale_id(call)
        if sale_id is None:
            raise refused(FieldError("sale_id", "the id of a sale"))
        payload = {"sale_id": sale_id} if await self._has_room() else {}
        new = ingest_job("gumroad", payload, owner_id=self._owner, request_id=call.request_id)
        job, _ = await enqueue(self._services, new)
        if job.status == "RUNNING":  # it may have read the sale as it was before
            await enqueue(self._services, replace(new, unique_key=f"{new.unique_key}:again"))
        return json_answer(200, {"received": True})

    async def _has_room(self) -> bool:
        async with acting_as(self._services, self._owner) as connection:
            found = await connection.execute(_PINGED.encode(), [self._owner])
            (count,) = await found.fetchone() or (0,)
        return bool(count < MOST_PINGED)


def _sale_id(call: Call) -> str | None:
    if type_of(call.headers) == FORM:
        try:
            fields = dict(parse_qsl(call.body.decode(), keep_blank_values=True, max_num_fields=1_000))
        except ValueError:
            raise Problem(400, "the body is no form of at most 1,000 fields") from None
        found: Any = fields.get("sale_id")
    else:
        found = decode(call.body, msgspec.json.Decoder(dict[str, Any])).get("sale_id")
    return found if isinstance(found, str) and re.fullmatch(SALE_ID, found) else None
