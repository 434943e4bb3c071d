"""Exchange rates in the database: stored as published, given to the ledger's rows.

A row's rate is the last one on or before its `period_end`, at most 45 days old (`sales.usd_rate`). None is NULL, never
1; the dollar itself is 1. Rates that come later, or are corrected, are applied later: what a row is worth depends on
the rates that are there, not on when they came.
"""

from typing import Any

import psycopg
import pyarrow as pa

from ingestion_pipeline.storage.postgres import copy_rows

_MERGE = """
with changed as (
    insert into sales.exchange_rates as kept (currency, rate_date, usd_per_unit, source)
    select currency, rate_date, usd_per_unit, %s from incoming_rates order by currency, rate_date
    on conflict (currency, rate_date) do update set usd_per_unit = excluded.usd_per_unit, source = excluded.source
    where kept.usd_per_unit <> excluded.usd_per_unit
    returning currency, rate_date
),
noted as (
    insert into sales.rate_changes (currency, rate_date)
    select currency, rate_date from changed order by currency, rate_date
    on conflict do nothing
)
select count(*) from changed
"""


def needs_rates(connection: psycopg.Connection[Any]) -> bool:
    """Is anything in the ledger in another currency than dollars?"""
    row = connection.execute("select exists (select from sales.sales_events where currency <> 'USD')").fetchone()
    return bool(row and row[0])


def store_rates(connection: psycopg.Connection[Any], rates: pa.Table, *, source: str) -> int:
    """Stores `rates_ecb.RATES`; how many are new or corrected. These wait in sales.rate_changes for `apply_rates`."""
    with connection.cursor() as cursor:
        cursor.execute("drop table if exists pg_temp.incoming_rates")
        cursor.execute(
            "create temporary table incoming_rates on commit drop as "
            "select currency, rate_date, usd_per_unit from sales.exchange_rates limit 0"
        )
        copy_rows(cursor, "incoming_rates", rates)
        row = cursor.execute(_MERGE, [source]).fetchone()
    return row[0] if row else 0


def apply_rates(connection: psycopg.Connection[Any]) -> int | None:
    """Gives the ledger's rows the rates that have changed; how many rows got another one.

    None while a report is being stored: nobody waits, the next time does it.
    """
    row = connection.execute("select sales.apply_rates()").fetchone()
    return row[0] if row else None
