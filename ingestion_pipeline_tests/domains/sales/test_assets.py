"""The derived tables in a real database: days, months and coverage, of what has changed only."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ingestion_pipeline.domains.sales.contracts import Period
from ingestion_pipeline.domains.sales.ledger import ReportFile
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import (
    EXPORTED,
    month_row,
    prior_month,
    query,
    report,
    report_file,
    row,
    store,
)

DAY = date(2026, 3, 5)
MARCH = date(2026, 3, 1)


def built(postgres: Postgres, most: int = 50) -> tuple[int, int]:
    """How many months of days, and months, were built."""
    (daily,) = query(postgres, "select months from sales.build_daily(%s)", most)
    (monthly,) = query(postgres, "select months from sales.build_monthly(%s)", most)
    return daily[0], monthly[0]


def covered(postgres: Postgres, today: date = date(2026, 6, 10)) -> dict[str, str]:
    """The state of each month by its name, of one owner and platform."""
    query(postgres, "select sales.build_coverage(%s)", today)
    return {f"{month:%m}": state for month, state in query(postgres, "select month, state from sales.coverage")}


def gumroad(*days: date, **over: Any) -> list[dict[str, Any]]:
    return [row(day, **({"platform": "gumroad", "storefront": "Gumroad", "is_final": True} | over)) for day in days]


def test_a_day_is_the_sum_of_its_rows_by_title_format_and_country(postgres: Postgres) -> None:
    """Free copies apart; a refund less; pages beside; what is not counted is not in it."""
    rows = [
        row(sold=3, title="Old name"),
        row(kind="refund", sold=0, refunded=1, transaction_type="x"),
        row(kind="free", sold=5, royalty=Decimal(0)),
        row(kind="pages_read", sold=0, pages_read=250, royalty=None),
        row(country=None, storefront="Amazon.xx"),
        row(format="paperback", edition_id="978"),
        row(date(2026, 4, 2)),
    ]
    store(postgres, report(*rows))
    store(postgres, report(row(sold=3, title="New name")), report_file("b", days=1))
    store(postgres, prior_month(month=date(2026, 4, 1)), "april")
    assert (2, 2) == built(postgres)
    days = (
        "select day, period_days, format, country, title, units_sold, units_refunded, net_units, free_units, pages_read, "
        "royalty, royalty_usd, row_count, is_final from sales.sales_daily order by format, country"
    )
    royalty, one = Decimal("6.90"), Decimal("3.45")
    assert [
        (DAY, 1, "ebook", "US", "New name", 3, 1, 2, 5, 250, royalty, royalty, 4, False),
        (DAY, 1, "ebook", "ZZ", "The Lighthouse", 1, 0, 1, 0, 0, one, one, 1, False),
        (DAY, 1, "paperback", "US", "The Lighthouse", 1, 0, 1, 0, 0, one, one, 1, False),
    ] == query(postgres, days)
    months = "select month, format, country, title, net_units, free_units, royalty, row_count from sales.sales_monthly"
    assert [(MARCH, "ebook", "US", "New name", 2, 5, royalty, 4)] == [
        it for it in query(postgres, months) if it[1:3] == ("ebook", "US")
    ]


def test_longer_periods_stand_on_their_first_day(postgres: Postgres) -> None:
    """With their length; a window across months counts where it begins."""
    window = row(date(2026, 2, 22), date(2026, 3, 28), platform="draft2digital", is_final=True)
    store(postgres, report(window), report_file("d2d", platform="draft2digital"))
    store(postgres, prior_month(month_row()), "march")
    built(postgres)
    assert [(date(2026, 2, 22), 35, True), (MARCH, 31, True)] == query(
        postgres, "select day, period_days, is_final from sales.sales_daily order by day"
    )
    assert [(date(2026, 2, 1),), (MARCH,)] == query(postgres, "select month from sales.sales_monthly order by month")


def test_a_sum_without_all_of_its_rates_has_no_dollars(postgres: Postgres) -> None:
    """NULL, not a part of it; the royalty in its own currency is there."""
    postgres.execute("insert into sales.exchange_rates values ('EUR', '2026-01-02', 1.5, 'x')")
    rows = [row(date(2026, 3, day), currency="EUR", royalty=Decimal(2)) for day in (2, 3)]
    store(postgres, report(*rows[:1], row(date(2026, 2, 2), currency="EUR", royalty=Decimal(2))))
    built(postgres)
    sums = "select royalty, royalty_usd from sales.sales_monthly order by month"
    assert [(2, 3), (2, None)] == query(postgres, sums)


def test_only_months_that_changed_are_built_again(postgres: Postgres) -> None:
    """Of the same owner and platform; a replay changes none, and an empty final month empties its own."""
    first = report(row(), row(date(2026, 4, 2)))
    store(postgres, first)
    store(postgres, report(row()), "a", owner="grace")
    assert ((3, 3), (0, 0)) == (built(postgres), built(postgres))
    rows = "select ctid::text, * from sales.sales_daily where day >= '2026-04-01' or owner_id = 'grace'"
    before = query(postgres, rows)
    store(postgres, first)
    assert (0, 0) == built(postgres)
    store(postgres, report(row(sold=2)), report_file("b", days=1))
    assert (1, 1) == built(postgres)
    store(postgres, prior_month(), "empty")
    assert (1, 1) == built(postgres)
    assert before == query(postgres, rows)
    assert 2 == len(query(postgres, "select 1 from sales.sales_monthly"))
    assert [] == postgres.read("sales_unbuilt_months")


def test_a_month_that_changes_while_it_is_built_is_built_again(postgres: Postgres) -> None:
    """And one that is just being stored is left for the next time, without waiting."""
    store(postgres, report(row(), row(date(2026, 4, 2))))
    with postgres.transaction() as storing:
        storing.execute("select sales.mark_months('ada', 'amazon_kdp', array[date '2026-03-01'])")
        assert (1, 1) == built(postgres)
        assert [(1,)] == query(postgres, "select month_count from (select count(*) as month_count from "
                               "sales.ledger_months where daily_version <> version) as dirty")  # fmt: skip
    assert ((1, 1), (0, 0)) == (built(postgres), built(postgres))


def test_months_are_built_some_at_a_time(postgres: Postgres) -> None:
    """No transaction is longer than that."""
    store(postgres, report(*(row(date(2026, month, 1)) for month in range(1, 8))))
    assert [(3, 3), (3, 3), (1, 1), (0, 0)] == [built(postgres, 3) for _ in range(4)]


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([(prior_month(month_row()), report_file("a"))], {"03": "final", "04": "missing", "05": "missing"}),
        ([(prior_month(), report_file("empty"))], {"03": "final", "04": "missing", "05": "missing"}),
        (
            [(prior_month(parts=["ebook"]), report_file("e", name="e.csv"))],
            {"03": "estimate", "04": "missing", "05": "missing"},
        ),
        ([(report(row()), report_file("a"))], {"03": "estimate", "04": "missing", "05": "missing"}),
        (
            [(report(row()), report_file("a")), (prior_month(month=date(2026, 5, 1)), report_file("m"))],
            {"03": "estimate", "04": "missing", "05": "final"},
        ),
        (
            [(report(period=Period(start=date(2026, 4, 3), end=date(2026, 6, 2))), report_file("quiet"))],
            {"04": "estimate", "05": "estimate", "06": "estimate"},
        ),
    ],
    ids=["final", "empty final", "one sheet", "estimate", "gap", "estimates without sales"],
)
def test_kdp_is_covered_by_its_final_months(
    postgres: Postgres, reports: Sequence[tuple[Any, ReportFile]], expected: dict[str, str]
) -> None:
    """Up to the last month that is over, and later ones that have a report."""
    for parsed, file in reports:
        store(postgres, parsed, file)
    built(postgres)
    assert expected == covered(postgres)


def test_a_report_of_a_century_is_covered_for_two_years_ahead(postgres: Postgres) -> None:
    """One file must not stop the sums of all others."""
    store(postgres, report(row(), period=Period(start=DAY, end=DAY)))
    query(postgres, "update sales.report_files set period_end = '2099-12-31' returning 1")
    assert 28 == query(postgres, "select sales.build_coverage('2026-06-10')")[0][0]


def test_payments_and_quarantined_files_cover_nothing(postgres: Postgres) -> None:
    """They say nothing of sales."""
    store(postgres, report(name="kdp_payments", is_final=True, period=Period(start=MARCH, end=DAY)))
    postgres.execute(
        "insert into sales.report_files (owner_id, sha256, platform, name, size_bytes, status, reason, settled_at, "
        "period_start, period_end) values ('ada', repeat('a', 64), 'amazon_kdp', 'x', 1, 'quarantined', 'unknown', now(), "
        "'2026-01-01', '2026-01-31')"
    )
    assert {} == covered(postgres)


def test_other_platforms_are_final_when_the_month_is_over_and_its_rows_are(postgres: Postgres) -> None:
    """What was exported before the month ended may lack its last days; a window without sales is covered by it."""
    exported = datetime(2026, 5, 20, tzinfo=EXPORTED.tzinfo)
    asked = Period(start=date(2026, 2, 1), end=exported.date())
    file = report_file("gumroad", platform="gumroad", exported_at=exported, covers=asked)
    rows = gumroad(date(2026, 3, 9), date(2026, 5, 9)) + gumroad(date(2026, 4, 9), is_final=False)
    store(postgres, report(*rows, name="gumroad_api"), file)
    built(postgres)
    assert {"02": "final", "03": "final", "04": "estimate", "05": "estimate"} == covered(postgres)
    counts = "select month, report_count, row_count, last_seen_at from sales.coverage order by month"
    assert (date(2026, 2, 1), 1, 0, exported) == query(postgres, counts)[0]
    again = report_file("again", platform="gumroad", exported_at=exported + timedelta(days=20), covers=asked)
    store(postgres, report(*gumroad(date(2026, 4, 9))), again)
    built(postgres)
    assert {"final"} == set(covered(postgres).values())
