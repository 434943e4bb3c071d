"""Laws of the ledger: the same set of reports makes the same ledger, in any order and however often each is stored."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.sales.ledger import ReportFile
from ingestion_pipeline.domains.sales.smashwords import is_reported_by_draft2digital
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import (
    ParsedReport,
    ledger,
    month_row,
    prior_month,
    query,
    report,
    report_file,
    row,
    store,
)

Report = tuple[ParsedReport, ReportFile]
DAYS = st.sampled_from([date(2026, month, day) for month in (3, 4) for day in (1, 5, 20)])
MONTHS = st.sampled_from([date(2026, 3, 1), date(2026, 4, 1)])
SOLD = st.integers(0, 3)
OF_KDP = {"kind": st.sampled_from(["sale", "free", "pages_read"]), "format": st.sampled_from(["ebook", "paperback"])}
LAWS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def kdp_report(draw: st.DrawFn) -> ParsedReport:
    """Estimates by the day or the month, or the final report of a month."""
    if draw(st.booleans()):
        month = draw(MONTHS)
        return prior_month(*(month_row(month, sold=draw(SOLD), **kinds) for kinds in draw(some_kinds())), month=month)
    grain = draw(st.sampled_from(["day", "month"]))
    rows = []
    for kinds in draw(some_kinds()):
        if grain == "day":
            rows += [row(day, sold=draw(SOLD), **kinds) for day in draw(st.sets(DAYS, max_size=3))]
        else:
            rows += [month_row(month, is_final=False, sold=draw(SOLD), **kinds) for month in draw(st.sets(MONTHS))]
    return report(*rows)


@st.composite
def some_kinds(draw: st.DrawFn) -> list[dict[str, Any]]:
    drawn = draw(st.lists(st.fixed_dictionaries(OF_KDP), max_size=2))
    return [it | {"edition_id": f"{it['format']} {place}"} for place, it in enumerate(drawn)]


def daily_report(platform: str, storefront: str) -> st.SearchStrategy[ParsedReport]:
    def of(rows: Iterable[tuple[date, int, bool]]) -> ParsedReport:
        over = {"platform": platform, "storefront": storefront, "source_report": "d2d_ebook"}
        made = [row(day, sold=sold, is_final=final, **over) for day, sold, final in rows]
        return report(*made)

    rows = st.tuples(DAYS, SOLD, st.booleans())
    return st.lists(rows, max_size=3, unique_by=lambda it: it[0]).map(of)


@st.composite
def reports(draw: st.DrawFn) -> list[Report]:
    """Up to five reports; some were exported at the same time."""
    kinds = {
        "amazon_kdp": kdp_report(),
        "smashwords": daily_report("smashwords", "Smashwords.com"),
        "draft2digital": daily_report("draft2digital", draw(st.sampled_from(["Kobo", "Smashwords Store"]))),
    }
    made = []
    for number in range(draw(st.integers(1, 5))):
        platform = draw(st.sampled_from(sorted(kinds)))
        name = draw(st.sampled_from([".xlsx", ".csv"]))
        file = report_file(f"{number}", platform=platform, days=draw(st.integers(0, 2)), name=f"{number}{name}")
        made.append((draw(kinds[platform]), file))
    return made


def ledger_of(postgres: Postgres, given_reports: Iterable[Report]) -> list[tuple[Any, ...]]:
    """The ledger that these reports make, one after the other, from an empty one."""
    for table in ("sales_events", "report_files", "ledger_months"):
        postgres.execute(f"delete from sales.{table}")
    for parsed, file in given_reports:
        store(postgres, parsed, file)
    return ledger(postgres)


@LAWS
@given(reports=reports(), data=st.data())
def test_neither_order_nor_repetition_of_reports_matters(
    postgres: Postgres, reports: list[Report], data: st.DataObject
) -> None:
    """Replayed at once, replayed at the end, shuffled: the same rows, and the same rows counted."""
    repeated = data.draw(st.lists(st.sampled_from(reports), max_size=3))
    shuffled = data.draw(st.permutations(reports + repeated))
    assert ledger_of(postgres, reports) == ledger_of(postgres, shuffled)


@LAWS
@given(
    sold=daily_report("smashwords", "Smashwords.com"),
    listed=daily_report("draft2digital", "Smashwords: Store"),
    other=daily_report("draft2digital", "Kobo"),
)
def test_the_rule_of_smashwords_is_the_parser_s(
    postgres: Postgres, sold: ParsedReport, listed: ParsedReport, other: ParsedReport
) -> None:
    """The database function and `is_reported_by_draft2digital` leave out the same rows."""
    ledger_of(
        postgres,
        [
            (sold, report_file("s", platform="smashwords")),
            (listed, report_file("d", platform="draft2digital")),
            (other, report_file("k", platform="draft2digital")),
        ],
    )
    left_out = "select natural_key from sales.sales_events where superseded_by = 'draft2digital'"
    keys = np.array(sold.rows["natural_key"].to_pylist(), dtype=object)
    expected = keys[is_reported_by_draft2digital(sold.rows, listed.rows)] if len(keys) else keys
    assert sorted(expected) == sorted(key for (key,) in query(postgres, left_out))
