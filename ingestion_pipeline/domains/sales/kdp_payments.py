"""KDP's Payments: what was paid, never what was earned.

A row of details leaves the sales period and the marketplace empty: they are those of the row above. Natural key:
payment number, sales period, marketplace, detail, source, currency.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales import kdp_headers as words
from ingestion_pipeline.domains.sales.contracts import PAYMENTS, RowProblem, natural_keys
from ingestion_pipeline.domains.sales.kdp_layout import KdpTable
from ingestion_pipeline.domains.sales.kdp_rows import Cells, currencies


def payment_rows(table: KdpTable, name: str) -> tuple[pa.Table, Sequence[RowProblem]]:
    """`PAYMENTS`."""
    cells = Cells(table)
    start, end, paid_on = (cells.day(column) for column in ("payment_period_start", "payment_period_end", "date"))
    marketplace = cells.text("marketplace")
    is_detail = start.is_null().to_numpy(zero_copy_only=False) & marketplace.is_null().to_numpy(zero_copy_only=False)
    start, end, storefront = (_from_above(array, is_detail) for array in (start, end, marketplace))
    payment_id = _from_above(cells.text("payment_number"), is_detail)
    currency = currencies(cells, "currency", name)
    cells.refuse(currency.is_null().to_numpy(zero_copy_only=False), "currency", "a currency such as USD")
    columns = {
        "platform": pa.repeat("amazon_kdp", cells.count),
        "payment_id": payment_id,
        "period_start": start,
        "period_end": end,
        "storefront": pa.array([_storefront(seen) for seen in storefront.to_pylist()], pa.string()),
        "method": cells.text("payment_method"),
        "currency": currency,
        "accrued": cells.money("accrued"),
        "tax_withheld": cells.money("tax_withheld"),
        "adjustments": cells.money("adjustments"),
        "net": cells.money("net_earnings"),
        "payout_currency": currencies(cells, "payout_currency", name),
        "fx_rate": cells.money("fx_rate"),
        "payout_amount": cells.money("payout_amount"),
        "status": cells.text("payment_status"),
        "paid_on": paid_on,
        "sheet": pa.array([table.sheet] * cells.count, pa.string()),
        "row_number": pa.array(table.row_numbers, pa.int64()),
    }
    key = [columns[column] for column in ("platform", "payment_id", "period_start", "period_end", "storefront")]
    key += [cells.text("detail"), cells.text("source"), currency]
    taken = pa.array(~cells.refused)
    kept = {column: array.filter(taken) for column, array in columns.items()}
    kept["natural_key"] = pa.array(
        natural_keys(zip(*(array.filter(taken).to_pylist() for array in key), strict=True)), pa.string()
    )
    return pa.table(kept).select(PAYMENTS.names).cast(PAYMENTS), cells.problems


def _from_above(array: pa.Array, is_detail: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(is_detail), pc.coalesce(array, pc.fill_null_forward(array)), array)


def _storefront(seen: str | None) -> str | None:
    market = words.marketplace(seen) if seen else None
    return market.storefront if market else seen
