"""The alias table: no word means two things, every language's words lead to the same canonical name."""

from collections import Counter

import pytest

from ingestion_pipeline.domains.sales import kdp_headers as words


def test_no_alias_means_two_things():
    for table in (words.SHEETS, words.COLUMNS):
        aliases = Counter(
            alias
            for by_language in table.values()
            for alias in {words.folded(alias) for aliases in by_language.values() for alias in aliases}
        )
        assert [alias for alias, count in aliases.items() if count > 1] == []


def test_every_alias_leads_to_its_name():
    for canonical, by_language in words.SHEETS.items():
        assert {words.sheet_of(alias) for aliases in by_language.values() for alias in aliases} == {canonical}
    for canonical, by_language in words.COLUMNS.items():
        assert {words.column_of(alias) for aliases in by_language.values() for alias in aliases} == {canonical}


@pytest.mark.parametrize(
    ("seen", "column"),
    [
        ("  net units sold or KENP read** ", "net_units_or_pages"),
        ("平均ファイルサイズ(MB)", "file_size"),
        ("Avg.  List Price\nwithout tax", "list_price"),
        ("Royalty (USD)", "royalty_USD"),
        ("Regalías (EUR)", "royalty_EUR"),
        ("ロイヤリティ（JPY）", "royalty_JPY"),  # noqa: RUF001 - as KDP writes it
        ("Royalty Datum", None),
        ("", None),
    ],
)
def test_width_case_spaces_and_stars_do_not_count(seen: str, column: str | None):
    assert words.column_of(seen) == column


def test_excels_cut_of_long_sheet_names_does_not_count():
    assert words.sheet_of("Regalías de los libros de tapa ") == "Hardcover Royalty"
    assert words.sheet_of("Regalías de los libros de tapa dura") == "Hardcover Royalty"


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        (["Título", "ASIN", "Tienda"], "es"),
        (["タイトル", "著者", "ASIN"], "ja"),
        (["Title", "ASIN"], "en"),
        (["ASIN"], "en"),
        ([], "en"),
    ],
)
def test_the_language_is_the_one_of_most_headers(headers: list[str], language: str):
    assert words.language_of(headers) == language


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        ("Estándar - Tapa blanda", "Standard - Paperback"),
        ("標準", "Standard"),
        ("Promoción gratuita", "Free - Promotion"),
        ("無料キャンペーン", "Free - Promotion"),
        ("Free - Price Match", "Free - Price Match"),
        ("Ofertas Kindle Countdown", "Kindle Countdown Deals"),
        ("Something New", None),
    ],
)
def test_transaction_types_are_in_english_where_they_are_known(seen: str, name: str | None):
    assert words.transaction_type(seen) == name
