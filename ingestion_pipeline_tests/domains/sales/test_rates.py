"""Exchange rates: the file of the European Central Bank, cross rates, and what the ledger's rows are worth by them."""

import io
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, TransientError
from ingestion_pipeline.domains.sales import rates_ecb
from ingestion_pipeline.domains.sales.ledger import store_report
from ingestion_pipeline.domains.sales.rates import apply_rates, store_rates
from ingestion_pipeline.domains.sales.rates_ecb import ecb_rates
from ingestion_pipeline.providers.exchange_rates import ExchangeRatesFile
from ingestion_pipeline.providers.http import HttpLimits
from ingestion_pipeline.storage.breakers import PostgresBreaker
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import ledger, month_row, query, report, report_file, row, store

FILE = b"""Date,USD,JPY,GBP,CYP,
2026-03-31,1.10,160.0,0.88,N/A,
2026-03-30,1.20,N/A,0.80,0.58,
2026-03-27,N/A,150.0,0.85,N/A,
"""


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def given_rates(postgres: Postgres, **rates: str) -> int:
    """`SEK_0331="0.1"`: what a krona is worth on that day of 2026; the euro is worth a dollar."""
    lines = {}
    for name, value in rates.items():
        code, day = name.split("_")
        lines.setdefault(date(2026, int(day[:2]), int(day[2:])), {})[code] = value
    codes = sorted({code for line in lines.values() for code in line})
    text = ",".join(["Date", "USD", *codes]) + "\n"
    for day, line in lines.items():
        text += (
            ",".join([str(day), "1", *(str(1 / Decimal(line[code])) if code in line else "" for code in codes)]) + "\n"
        )
    with postgres.transaction() as connection:
        return store_rates(connection, ecb_rates(text.encode(), "rates"), source="test")


def applied(postgres: Postgres) -> int | None:
    with postgres.transaction() as connection:
        return apply_rates(connection)


@pytest.mark.parametrize(
    "file", [FILE, b"\xef\xbb\xbf" + FILE, FILE.replace(b"\n", b"\r\n"), zipped(**{"e.csv": FILE})]
)
def test_a_currency_is_worth_its_cross_rate_of_the_day(file: bytes) -> None:
    """Dollars per unit, to twelve places; `N/A` is no rate, and a day without dollars has none at all."""
    found = {(it["currency"], it["rate_date"].day): it["usd_per_unit"] for it in ecb_rates(file, "hist").to_pylist()}
    assert found == {
        ("EUR", 31): Decimal("1.1"),
        ("JPY", 31): Decimal("0.006875"),
        ("GBP", 31): Decimal("1.25"),
        ("EUR", 30): Decimal("1.2"),
        ("GBP", 30): Decimal("1.5"),
        ("CYP", 30): Decimal("2.068965517241"),
    }


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"<html>Not found</html>", "header is '<html>Not found</html>', expected Date, USD"),
        (b"", "header is ''"),
        (b"Date,USD,\n", "rows is none, expected at least one day"),
        (b"Date,USD,Pounds\n2026-03-31,1.1,2\n", "'Pounds', expected currencies of three letters"),
        (b"Date,USD,GBP,GBP\n2026-03-31,1.1,2,2\n", "a currency twice"),
        (b"Date,USD\n31 March 2026,1.1\n", "line 2: Date is '31 March 2026', expected a day"),
        (b"Date,USD\n2026-03-31,1.1\n2026-03-31,1.2\n", "line 3: Date is 2026-03-31, expected each day once"),
        (b"Date,USD\n2026-03-31,0\n", "line 2: USD is '0', expected what one euro is worth"),
        (b"Date,USD\n2026-03-31,NaN\n", "USD is 'NaN'"),
        (b"Date,USD\n2026-03-31,-1.1\n", "USD is '-1.1'"),
        (b"Date,USD\n2026-03-31,1e99\n", "USD is '1e99'"),
        (b"Date,USD\n2026-03-31,\xff\n", "expected UTF-8 text"),
        (b"PK\x03\x04 damaged", "zip is BadZipFile"),
        (zipped(**{"a.txt": b""}), "zip is 0 CSV files"),
        (zipped(**{"e.csv": FILE})[:-40], "zip is BadZipFile"),
        (b'Date,USD\n2026-03-31,"' + b"9" * 200_000 + b'"\n', "field larger than field limit"),
    ],
)
def test_any_other_file_is_refused_by_name(file: bytes, message: str) -> None:
    """With what was seen and what was expected."""
    with pytest.raises(ContractError) as refused:
        ecb_rates(file, "hist")
    assert message in str(refused.value)


def test_a_zip_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the limit is ever read of it."""
    monkeypatch.setattr(rates_ecb, "MAX_CSV_BYTES", 1_000_000)
    with pytest.raises(ContractError, match="size is over 1000000 bytes"):
        ecb_rates(zipped(**{"e.csv": b"0" * 50_000_000}), "bomb")


def test_rates_are_stored_once_and_corrected(postgres: Postgres) -> None:
    """The second time nothing is new; a corrected one replaces what was there."""
    assert [3, 0, 1] == [
        given_rates(postgres, **it)
        for it in ({"SEK_0331": "0.125", "GBP_0331": "2"}, {"GBP_0331": "2"}, {"GBP_0331": "1.6"})
    ]
    stored = "select usd_per_unit, source from sales.exchange_rates where currency = 'GBP'"
    assert [(Decimal("1.6"), "test")] == query(postgres, stored)
    assert [] == query(postgres, "select 1 from sales.exchange_rates where currency = 'USD'")


def test_a_row_has_the_last_rate_on_or_before_the_end_of_its_period(postgres: Postgres) -> None:
    """A month has the one of its last day; dollars are themselves; no rate is NULL."""
    given_rates(postgres, GBP_0327="2", GBP_0330="4", GBP_0401="8")
    rows = [
        row(date(2026, 3, 29), currency="GBP", royalty=Decimal(3)),
        month_row(currency="GBP", royalty=Decimal(3)),
        row(date(2026, 3, 26), currency="GBP", royalty=Decimal(3)),
        row(date(2026, 3, 29), currency="SEK", royalty=Decimal(3)),
        row(date(2026, 3, 29), currency="USD", royalty=Decimal("3.33")),
        row(date(2026, 5, 14), currency="GBP", royalty=None),
        row(date(2026, 5, 17), currency="GBP", royalty=Decimal(3)),
    ]
    store(postgres, report(*rows))
    found = "select currency, period_end, fx_rate, fx_date, royalty_usd from sales.sales_events order by 1, 2"
    assert [
        ("GBP", date(2026, 3, 26), None, None, None),
        ("GBP", date(2026, 3, 29), 2, date(2026, 3, 27), 6),
        ("GBP", date(2026, 3, 31), 4, date(2026, 3, 30), 12),
        ("GBP", date(2026, 5, 14), 8, date(2026, 4, 1), None),
        ("GBP", date(2026, 5, 17), None, None, None),
        ("SEK", date(2026, 3, 29), None, None, None),
        ("USD", date(2026, 3, 29), 1, date(2026, 3, 29), Decimal("3.33")),
    ] == query(postgres, found)


def test_rates_that_come_later_are_applied_once(postgres: Postgres) -> None:
    """To rows without one, and where they are nearer or corrected; months that change are built again."""
    rows = report(*(row(date(2026, 3, day), currency="SEK", royalty=Decimal(10)) for day in (20, 30)), row())
    store(postgres, rows)
    assert 0 == applied(postgres)
    postgres.execute("update sales.ledger_months set daily_version = version, monthly_version = version")
    worth = "select royalty_usd from sales.sales_events where currency = 'SEK' order by period_end"
    for rates, changed, expected in (
        ({"SEK_0319": "1.25"}, 2, [Decimal("12.5"), Decimal("12.5")]),
        ({"SEK_0330": "1.6"}, 1, [Decimal("12.5"), Decimal(16)]),
        ({"SEK_0319": "2"}, 1, [Decimal(20), Decimal(16)]),
        ({"SEK_0331": "4"}, 0, [Decimal(20), Decimal(16)]),
    ):
        given_rates(postgres, **rates)
        assert [changed, 0] == [applied(postgres), applied(postgres)]
        assert [(it,) for it in expected] == query(postgres, worth)
    assert 1 == len(postgres.read("sales_unbuilt_months"))


def test_rates_wait_for_who_stores_and_nobody_waits_for_them(postgres: Postgres) -> None:
    """A report that is being stored may have been rated before; without new rates nobody is asked at all."""
    rows = report(row(date(2026, 3, 20), currency="SEK"))
    with postgres.transaction() as storing:
        store_report(storing, "ada", rows, report_file("a"))
        assert 0 == applied(postgres)
        given_rates(postgres, SEK_0319="1.25")
        assert applied(postgres) is None
        assert 1 == store(postgres, rows, "b", owner="grace").inserted
    assert 1 == applied(postgres)
    worth = query(postgres, "select distinct fx_rate from sales.sales_events")
    assert [(Decimal("1.25"),)] == worth


def test_only_what_a_rate_is_for_is_rated_again(postgres: Postgres) -> None:
    """Its currency, from its day on for 45 days; a rate that is told again is none."""
    rows = [row(date(2026, month, 20), currency=code) for month in (1, 3, 5) for code in ("SEK", "GBP")]
    store(postgres, report(*rows))
    given_rates(postgres, SEK_0320="2", GBP_0320="2")
    assert 2 == applied(postgres)
    postgres.execute("update sales.sales_events set fx_rate = 9, royalty_usd = 9 * royalty where fx_rate = 2")
    given_rates(postgres, SEK_0320="2", GBP_0320="4")
    assert 1 == applied(postgres)
    found = "select currency, fx_rate from sales.sales_events where fx_rate is not null order by 1"
    assert [("GBP", 4), ("SEK", 9)] == query(postgres, found)


def test_it_does_not_matter_whether_rates_or_rows_come_first(postgres: Postgres) -> None:
    """The same ledger."""
    rows = report(*(row(date(2026, 3, day), currency="SEK") for day in (1, 20, 30)))
    rates = {"SEK_0319": "1.1234", "SEK_0329": "1.2"}
    store(postgres, rows)
    given_rates(postgres, **rates)
    applied(postgres)
    late = ledger(postgres)
    postgres.execute("delete from sales.sales_events")
    store(postgres, rows)
    assert late == ledger(postgres)
    assert 0 == applied(postgres)


def rates_file(postgres: Postgres, url: str) -> ExchangeRatesFile:
    return ExchangeRatesFile(url, breaker=PostgresBreaker(postgres), limits=HttpLimits(timeout_seconds=5))


def test_the_file_is_fetched_as_it_is(postgres: Postgres, httpserver: HTTPServer) -> None:
    """Bytes, not JSON; the address may have a query: encoded, without a value, with a name twice."""
    content = zipped(**{"eurofxref-hist.csv": FILE})
    httpserver.expect_request("/stats/hist.zip").respond_with_data(content, content_type="x/y")
    given = rates_file(postgres, httpserver.url_for("/stats/hist.zip?key=a%2Fb%20c&day=1&day=2&raw="))
    assert (content, "localhost") == (given.fetch(), given.source)
    ((request, _),) = httpserver.log
    assert [("key", "a/b c"), ("day", "1"), ("day", "2"), ("raw", "")] == list(request.args.items(multi=True))


@pytest.mark.parametrize(("status", "error"), [(404, ContractError), (503, TransientError), (302, ContractError)])
def test_an_answer_that_is_no_file_is_an_error(
    postgres: Postgres, httpserver: HTTPServer, status: int, error: type[Exception]
) -> None:
    """Of the kind that says whether trying again helps."""
    httpserver.expect_request("/hist.zip").respond_with_data(b"<html>", status=status, headers={"retry-after": "3600"})
    with pytest.raises(error):
        rates_file(postgres, httpserver.url_for("/hist.zip")).fetch()


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_file_may_be_given_by_path(postgres: Postgres, tmp_path: Path, prefix: str) -> None:
    """For who has no web, or a source of one's own."""
    path = tmp_path / "my rates.csv"
    path.write_bytes(FILE)
    url = path.as_uri() if prefix else str(path)
    assert (FILE, "my rates.csv") == (rates_file(postgres, url).fetch(), rates_file(postgres, url).source)
    with pytest.raises(ConfigurationError, match=r"SALES_RATES_URL=.*No such file"):
        rates_file(postgres, f"{url}.gone").fetch()
