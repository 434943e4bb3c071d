"""KDP's Payments: what was paid, never what was earned.

A row of details leaves the sales period and the marketplace empty: those, and what else it leaves empty of number, day,
method and status, are those of the row above. `detail` and `source` say which part of a payment a row is. Natural key:
sales period, marketplace, detail, source, currency; not the payment number, for a payment that is pending has none yet.
Where a file has several of one key, they are told apart by the order of their payment numbers.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales import kdp_headers as words
from ingestion_pipeline.domains.sales.contracts import PAYMENTS, RowProblem, natural_keys
from ingestion_pipeline.domains.sales.kdp_cells import Cells, currencies
from ingestion_pipeline.domains.sales.kdp_layout import KdpTable

_KEY = ("platform", "period_start", "period_end", "storefront", "detail", "source", "currency")


def payment_rows(table: KdpTable, name: str) -> tuple[pa.Table, Sequence[RowProblem]]:
    """`PAYMENTS`."""
    cells = Cells(table)
    start, end = (cells.day(column) for column in ("payment_period_start", "payment_period_end"))
    marketplace = cells.text("marketplace")
    is_detail = start.is_null().to_numpy(zero_copy_only=False) & marketplace.is_null().to_numpy(zero_copy_only=False)

    def filled(array: pa.Array) -> pa.Array:
        return pc.if_else(pa.array(is_detail), pc.coalesce(array, pc.fill_null_forward(array)), array)

    currency = currencies(cells, "currency", name)
    cells.refuse(currency.is_null().to_numpy(zero_copy_only=False), "currency", "a currency such as USD")
    columns = {
        "platform": pa.repeat("amazon_kdp", cells.count),
        "payment_id": filled(cells.text("payment_number")),
        "period_start": filled(start),
        "period_end": filled(end),
        "storefront": pa.array([_storefront(seen) for seen in filled(marketplace).to_pylist()], pa.string()),
        "detail": cells.text("detail"),
        "source": cells.text("source"),
        "method": filled(cells.text("payment_method")),
        "currency": currency,
        "accrued": cells.money("accrued"),
        "tax_withheld": cells.money("tax_withheld"),
        "adjustments": cells.money("adjustments"),
        "net": cells.money("net_earnings"),
        "payout_currency": currencies(cells, "payout_currency", name),
        "fx_rate": cells.money("fx_rate"),
        "payout_amount": cells.money("payout_amount"),
        "status": filled(cells.text("payment_status")),
        "paid_on": filled(cells.day("date")),
        "sheet": pa.array([table.sheet] * cells.count, pa.string()),
        "row_number": pa.array(table.row_numbers, pa.int64()),
    }
    taken = pa.array(~cells.refused)
    kept = {column: array.filter(taken) for column, array in columns.items()}
    kept["natural_key"] = _keys(pa.table(kept))
    return pa.table(kept).select(PAYMENTS.names).cast(PAYMENTS), cells.problems


def _keys(payments: pa.Table) -> pa.Array:
    """In the order of `payments`; equal ones are counted in the order of payment numbers, one without comes last."""
    rows = payments.select([*_KEY, "payment_id"]).to_pylist()

    def number(place: int) -> tuple[bool, int, str]:
        payment_id = rows[place]["payment_id"] or ""
        return not payment_id, len(payment_id), payment_id

    order = sorted(range(len(rows)), key=number)
    keys = natural_keys([rows[place][column] for column in _KEY] for place in order)
    return pa.array([key for _, key in sorted(zip(order, keys, strict=True))], pa.string())


def _storefront(seen: str | None) -> str | None:
    market = words.marketplace(seen) if seen else None
    return market.storefront if market else seen
