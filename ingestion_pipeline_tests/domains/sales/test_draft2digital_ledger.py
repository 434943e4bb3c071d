"""Reports of Draft2Digital and Smashwords, read and stored in every order: restated estimates and listed sales once."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from ingestion_pipeline.domains.sales import draft2digital, smashwords
from ingestion_pipeline.domains.sales.contracts import ParsedReport
from ingestion_pipeline.domains.sales.ledger import ReportFile
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales import d2d_reports, smashwords_reports
from ingestion_pipeline_tests.domains.sales.d2d_reports import apple_window, sale
from ingestion_pipeline_tests.domains.sales.ledgers import ledger, query, report_file, store
from ingestion_pipeline_tests.domains.sales.smashwords_reports import own_sale, retailer_sale

Report = tuple[ParsedReport, ReportFile]
WINDOW = date(2026, 2, 25)
FIFTH = date(2026, 3, 5)


def listed(*rows: Mapping[str, str], days: float = 0, header: Sequence[str] = d2d_reports.EBOOK) -> Report:
    """Draft2Digital's export of `rows`, `days` after the first of April."""
    content = d2d_reports.report(rows, header=header)
    file = report_file(f"{days} {content!r}", platform="draft2digital", days=days)
    return draft2digital.parse(io.BytesIO(content), "d2d.csv"), file


def sold(*rows: Mapping[str, str]) -> Report:
    content = smashwords_reports.report(rows)
    file = report_file(repr(content), platform="smashwords")
    return smashwords.parse(io.BytesIO(content), "smashwords.xls"), file


def estimate(day: date = FIFTH, **over: Any) -> dict[str, str]:
    return sale(day, **({"Verified": "False"} | over))


def of_smashwords(row: Mapping[str, str], vendor: str) -> dict[str, str]:
    return {**row, "Distributor": "Smashwords", "Vendor": vendor}


def own(day: str, **over: str) -> dict[str, str]:
    return own_sale(date=f"{day} 5:18", **over)


def retailed(day: str, channel: str) -> dict[str, str]:
    return retailer_sale(date=f"{day} 0:00", channel=channel)


def counted_of(postgres: Postgres, given_reports: Sequence[Report]) -> list[tuple[str, date, Decimal]]:
    """(store, first day, offer price) of the rows that count, the same in every order of the reports."""
    found = []
    for order in permutations(given_reports):
        for table in ("sales_events", "report_files", "ledger_months"):
            postgres.execute(f"delete from sales.{table}")
        for parsed, file in order:
            assert parsed.problems == [] or parsed.rows.num_rows
            store(postgres, parsed, file)
        found.append(ledger(postgres))
    assert found == [found[0]] * len(found)
    counting = "select storefront, period_start, offer_price from sales.sales_events where superseded_by is null order by 1, 2, 3"
    return query(postgres, counting)


def kobo(price: str, day: date = FIFTH) -> tuple[str, date, Decimal]:
    return ("Kobo Books", day, Decimal(price))


def test_an_estimate_that_is_restated_at_another_price_counts_once(postgres: Postgres) -> None:
    """The price is part of the key: the older row is another one, which the newer export does not list any more."""
    old = listed(estimate(offer="4.99"))
    assert [kobo("4.49")] == counted_of(postgres, [old, listed(sale(FIFTH, offer="4.49"), days=2)])
    again = [old, listed(estimate(offer="4.49"), days=2), listed(estimate(offer="4.99"), days=4)]
    assert [kobo("4.99")] == counted_of(postgres, again)


@pytest.mark.parametrize(
    ("newer", "why"),
    [
        (listed(sale(FIFTH, offer="4.49"), days=-2), "it is older"),
        (listed(sale(date(2026, 3, 6)), days=2), "it begins later"),
        (listed(sale(FIFTH, offer="4.49"), days=2, header=d2d_reports.PRINT), "it is of print"),
        (
            listed(sale(FIFTH, offer="4.49"), estimate(Units_Sold="?"), days=2),
            "the row that it cannot read may be this",
        ),
    ],
)
def test_an_estimate_stays_where_the_other_export_says_nothing_of_it(
    postgres: Postgres, newer: Report, why: str
) -> None:
    assert kobo("4.99") in counted_of(postgres, [listed(estimate(offer="4.99")), newer]), why


def test_a_verified_row_stays_though_a_newer_export_does_not_list_it(postgres: Postgres) -> None:
    verified = listed(sale(FIFTH, offer="4.99"))
    assert [kobo("4.49"), kobo("4.99")] == counted_of(postgres, [verified, listed(estimate(offer="4.49"), days=2)])


def test_an_estimate_that_was_left_out_and_is_verified_then_counts(postgres: Postgres) -> None:
    exports = [
        listed(estimate(offer="4.99")),
        listed(estimate(offer="4.49"), days=2),
        listed(sale(FIFTH, offer="4.99"), days=4),
    ]
    assert [kobo("4.99")] == counted_of(postgres, exports)


def test_a_window_that_reaches_into_a_month_does_not_cover_its_days(postgres: Postgres) -> None:
    """Of February the report of March says nothing but what Apple sold."""
    february = listed(estimate(date(2026, 2, 26)))
    for march in ([apple_window(WINDOW), sale(FIFTH)], [apple_window(WINDOW)]):
        assert kobo("4.99", date(2026, 2, 26)) in counted_of(postgres, [february, listed(*march, days=2)])


def test_a_window_that_is_restated_counts_once(postgres: Postgres) -> None:
    """Here and beside days; another store's window of the same days stays."""
    old = [apple_window(WINDOW, offer="4.99", Verified="False"), apple_window(WINDOW, Vendor="Other", Verified="False")]
    for others in ([], [sale(FIFTH)]):
        exports = [listed(*old), listed(apple_window(WINDOW, offer="4.49"), *others, days=2)]
        found = [it for it in counted_of(postgres, exports) if it[1] == WINDOW]
        assert [("Apple Books", WINDOW, Decimal("4.49")), ("Other", WINDOW, Decimal("4.99"))] == found


def test_a_window_of_apple_lists_what_smashwords_sold_at_apple(postgres: Postgres) -> None:
    """On the days of the window, in both months: nothing twice, and nothing of another store left out."""
    window = listed(of_smashwords(apple_window(WINDOW, days=34), "Apple Books"))  # to the 30th of March
    sales = sold(
        *(own(day) for day in ("2026-02-27", "2026-03-20")),
        *(retailed(day, "Apple") for day in ("2026-02-24", "2026-02-25", "2026-03-20", "2026-03-30", "2026-03-31")),
        retailed("2026-03-20", "Kobo"),
    )
    left = [it[:2] for it in counted_of(postgres, [window, sales]) if it[0] != "Smashwords: Apple Books"]
    assert left == [
        ("Apple", date(2026, 2, 24)),
        ("Apple", date(2026, 3, 31)),
        ("Kobo", date(2026, 3, 20)),
        ("Smashwords.com", date(2026, 2, 27)),
        ("Smashwords.com", date(2026, 3, 20)),
    ]


@pytest.mark.parametrize(
    ("vendor", "kept"),
    [
        ("Smashwords Store", ["Barnes & Noble", "Kobo"]),
        ("", ["Barnes & Noble", "Kobo"]),
        ("Kobo Plus", ["Barnes & Noble", "Smashwords.com"]),
        ("Barnes & Noble", ["Kobo", "Smashwords.com"]),
        ("Palace Marketplace", ["Barnes & Noble", "Kobo", "Smashwords.com"]),
    ],
)
def test_stores_are_told_by_their_first_word(postgres: Postgres, vendor: str, kept: list[str]) -> None:
    sales = sold(own("2026-03-09"), retailed("2026-03-09", "Kobo"), retailed("2026-03-09", "Barnes & Noble"))
    found = counted_of(postgres, [listed(of_smashwords(sale(FIFTH), vendor)), sales])
    assert kept == [it[0] for it in found if it[1] == date(2026, 3, 9)]


def test_a_day_lists_the_rest_of_its_month_until_the_export(postgres: Postgres) -> None:
    """What was sold since is in no report of Draft2Digital yet."""
    exported = -(datetime(2026, 4, 1, 12, tzinfo=UTC) - datetime(2026, 3, 10, 12, tzinfo=UTC)).days
    days = ["2026-03-04", "2026-03-05", "2026-03-10", "2026-03-12", "2026-04-05"]
    listing = listed(of_smashwords(sale(FIFTH), "Smashwords Store"), days=exported)
    found = counted_of(postgres, [listing, sold(*map(own, days))])
    assert [date(2026, 3, 4), date(2026, 3, 12), date(2026, 4, 5)] == [
        it[1] for it in found if it[0] == "Smashwords.com"
    ]


def test_an_estimate_that_does_not_count_lists_nothing(postgres: Postgres) -> None:
    """Draft2Digital took the sale back: Smashwords' is the only one."""
    taken_back = [listed(of_smashwords(estimate(), "Smashwords Store")), listed(sale(FIFTH), days=2)]
    found = counted_of(postgres, [*taken_back, sold(own("2026-03-09"))])
    assert ["Kobo Books", "Smashwords.com"] == [it[0] for it in found]


def test_a_month_as_a_date_lists_the_month(postgres: Postgres) -> None:
    month = sale() | {"Start Date": "March 2026", "End Date": "2026-03"}
    sales = sold(own("2026-02-28"), own("2026-03-01"), own("2026-03-31"), own("2026-04-01"))
    found = counted_of(postgres, [listed(of_smashwords(month, "Smashwords Store")), sales])
    assert [date(2026, 2, 28), date(2026, 4, 1)] == [it[1] for it in found if it[0] == "Smashwords.com"]
