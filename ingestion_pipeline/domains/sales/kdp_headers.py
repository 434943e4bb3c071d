"""The words of Amazon KDP's reports in the languages of its interface, and what each means.

Here: sheet names, column headers, transaction types, marketplaces. A new wording is one new alias here; raise
`VERSION` with it. Not here: what is done with a sheet. A wording that is not here sends the file to quarantine.

Sources: files and readers of files published by authors (FORMATS E1; Japanese of 2026-06 to 2026-09, Spanish of
2026-06, English of 2015 to 2026). Aliases marked "by analogy" follow the pattern of the seen ones.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

VERSION = 2

LANGUAGES = ("en", "es", "ja")
SHEET_NAME_LENGTH = 31  # Excel cuts longer names

SHEETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Report Definitions": {
        "en": ("Report Definitions",),
        "es": ("Definiciones del informe",),
        "ja": ("レポートの定義",),  # by analogy
    },
    "Summary": {"en": ("Summary",), "es": ("Resumen",), "ja": ("概要",)},
    "Combined Sales": {"en": ("Combined Sales",), "es": ("Ventas combinadas",), "ja": ("総合売上",)},  # ja by analogy
    "eBook Royalty": {
        "en": ("eBook Royalty", "eBook Royalties"),
        "es": ("Regalías de eBooks",),
        "ja": ("電子書籍のロイヤリティ",),
    },
    "Paperback Royalty": {
        "en": ("Paperback Royalty", "Paperback Royalties"),
        "es": ("Regalías de libros impresos",),
        "ja": ("ペーパーバックのロイヤリティ",),
    },
    "Hardcover Royalty": {
        "en": ("Hardcover Royalty", "Hardcover Royalties"),
        "es": ("Regalías de los libros de tapa dura", "Regalías de los libros de tapa"),
        "ja": ("ハードカバーのロイヤリティ",),  # by analogy
    },
    "Audiobook Royalty": {
        "en": ("Audiobook Royalty", "Audiobook Royalties"),
        "es": ("Regalías de audiolibros",),
        "ja": ("オーディオブックのロイヤリティ",),  # by analogy
    },
    "Orders Processed": {"en": ("Orders Processed",), "es": ("Pedidos procesados",), "ja": ("確定済み注文",)},
    "eBook Orders Placed": {
        "en": ("eBook Orders Placed",),
        "es": ("Pedidos completados de eBooks",),
        "ja": ("電子書籍の注文",),  # by analogy
    },
    "KENP Read": {"en": ("KENP Read", "KENP"), "es": ("KENP leídas",), "ja": ("既読 KENPC", "既読 KENP")},
    "Total Earnings": {
        "en": ("Total Earnings", "Total Royalty", "Combined Royalty Report"),
        "es": ("Ganancias totales",),  # by analogy
        "ja": ("総収益",),
    },
    "Payments": {"en": ("Payments",), "es": ("Pagos",), "ja": ("支払い",)},  # es, ja by analogy
}

SALES_PERIOD = {"en": ("Sales Period",), "es": ("Periodo de ventas", "Período de ventas"), "ja": ("販売期間",)}

COLUMNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "royalty_date": {"en": ("Royalty Date",), "es": ("Fecha de las regalías",), "ja": ("ロイヤリティ発生日",)},
    "order_date": {"en": ("Order Date",), "es": ("Fecha de pedido",), "ja": ("注文日",)},
    "date": {"en": ("Date",), "es": ("Fecha",), "ja": ("日付",)},
    "title": {"en": ("Title",), "es": ("Título",), "ja": ("タイトル",)},
    "author": {"en": ("Author", "Author Name"), "es": ("Autor", "Nombre del autor"), "ja": ("著者", "著者名")},
    "asin": {"en": ("ASIN",)},
    "isbn": {"en": ("ISBN",)},
    "asin_or_isbn": {"en": ("ASIN/ISBN",)},
    "ebook_asin": {"en": ("eBook ASIN",), "es": ("ASIN del eBook",)},
    "audiobook_asin": {"en": ("Audiobook ASIN",)},
    "audible_asin": {"en": ("Audible ASIN",)},
    "marketplace": {"en": ("Marketplace",), "es": ("Tienda",), "ja": ("マーケットプレイス",)},
    "royalty_type": {"en": ("Royalty Type",), "es": ("Tipo de regalía",), "ja": ("ロイヤリティの種類",)},
    "transaction_type": {
        "en": ("Transaction Type", "Payout Plan"),
        "es": ("Tipo de transacción", "Plan de pago"),
        "ja": ("コンテンツ区分", "取引の種類", "支払いプラン"),  # the last two by analogy
    },
    "units_sold": {"en": ("Units Sold",), "es": ("Unidades vendidas",), "ja": ("注文数",)},
    "units_refunded": {"en": ("Units Refunded",), "es": ("Unidades devueltas",), "ja": ("払い戻し数",)},
    "net_units": {"en": ("Net Units Sold",), "es": ("Unidades netas vendidas",), "ja": ("実質注文数",)},
    "net_units_or_pages": {
        "en": ("Net Units Sold or KENP Read", "Net Units Sold or Combined KENP"),
        "es": ("Unidades netas vendidas o KENP leídas", "Unidades netas vendidas o KENP combinadas"),  # by analogy
        "ja": ("実質注文数または既読 KENP", "実質注文数または合計 KENP"),  # by analogy
    },
    "list_price": {
        "en": ("Avg. List Price without tax",),
        "es": ("Precio de lista medio sin impuestos",),
        "ja": ("平均希望小売価格 (税別)",),
    },
    "offer_price": {
        "en": ("Avg. Offer Price without tax",),
        "es": ("Precio de oferta medio sin impuestos",),
        "ja": ("平均販売価格 (税別)",),
    },
    "file_size": {
        "en": ("Avg. File Size (MB)",),
        "es": ("Tamaño medio del archivo (MB)",),
        "ja": ("平均ファイルサイズ（MB）",),  # noqa: RUF001 - as KDP writes it
    },
    "cost": {
        "en": ("Avg. Delivery Cost", "Avg. Manufacturing Cost", "Avg. Delivery/Manufacturing cost"),
        "es": ("Gasto medio de envío", "Gasto de producción medio", "Gasto medio de entrega/producción"),
        "ja": ("平均配信コスト", "平均印刷コスト", "平均配信/印刷コスト"),
    },
    "royalty": {"en": ("Royalty", "Earnings"), "es": ("Regalías", "Ganancias"), "ja": ("ロイヤリティ", "収益")},
    "currency": {"en": ("Currency",), "es": ("Moneda",), "ja": ("通貨",)},
    "pages_read": {
        "en": (
            "Kindle Edition Normalized Page (KENP) Read",
            "Kindle Edition Normalized Pages (KENP) Read",
            "Kindle Edition Normalized Pages (KENP) Read from KU and KOLL",
            "KENP Read",
            "KENP",
        ),
        "es": ("Páginas KENP leídas",),
        "ja": ("既読 KENP (Kindle Edition Normalized Pages)", "既読 KENP"),
    },
    "paid_units": {
        "en": ("Paid Units",),
        "es": ("Unidades pagadas",),
        "ja": ("有料ダウンロード数",),
    },
    "free_units": {
        "en": ("Free Units",),
        "es": ("Unidades gratuitas",),
        "ja": ("無料ダウンロード数",),
    },
    "net_units_ebook": {
        "en": ("Net Units Sold (eBook)", "Net Units Sold eBook", "Net eBook Units Sold", "eBook Net Units Sold"),
        "es": ("Unidades netas vendidas (eBook)",),
    },
    "free_units_ebook": {
        "en": ("Free Units Sold (eBook)", "Free Units (eBook)", "Free eBook Units Sold", "Free Units eBook"),
        "es": ("Unidades gratuitas vendidas (eBook)",),
    },
    "net_units_paperback": {
        "en": ("Net Units Sold (Paperback)", "Net Units Sold Paperback", "Net Paperback Units Sold"),
        "es": ("Unidades netas vendidas (Tapa blanda)",),
    },
    "net_units_hardcover": {
        "en": ("Net Units Sold (Hardcover)", "Net Units Sold Hardcover", "Net Hardcover Units Sold"),
        "es": ("Unidades netas vendidas (tapa dura)",),
    },
    "borrows": {"en": ("KOLL Borrows", "KOLL borrows"), "es": ("Préstamos de KOLL",)},
    # Payments: Spanish and Japanese by analogy
    "payment_period_start": {
        "en": ("Sales Period - Start Date",),
        "es": ("Periodo de ventas - Fecha de inicio", "Período de ventas - Fecha de inicio"),
        "ja": ("販売期間 - 開始日",),
    },
    "payment_period_end": {
        "en": ("Sales Period - End Date",),
        "es": (
            "Periodo de ventas - Fecha de finalización",
            "Periodo de ventas - Fecha de fin",
            "Período de ventas - Fecha de finalización",
        ),
        "ja": ("販売期間 - 終了日",),
    },
    "payment_number": {"en": ("Payment Number",), "es": ("Número de pago",), "ja": ("支払い番号",)},
    "detail": {"en": ("Detail",), "es": ("Detalle",), "ja": ("詳細",)},
    "payment_method": {"en": ("Payment Method",), "es": ("Método de pago",), "ja": ("支払い方法",)},
    "accrued": {
        "en": ("Accrued Royalty",),
        "es": ("Regalías acumuladas", "Regalías devengadas"),
        "ja": ("発生したロイヤリティ",),
    },
    "tax_withheld": {
        "en": ("Tax Withholding",),
        "es": ("Retención de impuestos", "Retención fiscal"),
        "ja": ("源泉徴収税",),
    },
    "adjustments": {"en": ("Adjustments",), "es": ("Ajustes",), "ja": ("調整",)},
    "net_earnings": {"en": ("Net Earnings",), "es": ("Ganancias netas",), "ja": ("純収益",)},
    "source": {"en": ("Source",), "es": ("Fuente", "Origen"), "ja": ("収益源",)},
    "fx_rate": {"en": ("FX Rate",), "es": ("Tipo de cambio",), "ja": ("為替レート",)},
    "payout_amount": {"en": ("Payout Amount",), "es": ("Importe del pago",), "ja": ("支払い金額",)},
    "payment_status": {"en": ("Payment Status",), "es": ("Estado del pago",), "ja": ("支払いステータス",)},
}

# Spanish and Japanese of other types than Standard and Free - Promotion by analogy
TRANSACTION_TYPES: Mapping[str, tuple[str, ...]] = {
    "Standard": ("Standard", "Standard - eBook", "Estándar", "Estándar - eBook", "標準", "標準 - 電子書籍"),
    "Standard - Paperback": ("Standard - Paperback", "Estándar - Tapa blanda", "標準 - ペーパーバック"),
    "Standard - Hardcover": ("Standard - Hardcover", "Estándar - Tapa dura", "標準 - ハードカバー"),
    "Standard - Audiobook": ("Standard - Audiobook", "Estándar - Audiolibro", "標準 - オーディオブック"),
    "Free - Promotion": ("Free - Promotion", "Promoción gratuita", "無料 - プロモーション"),
    "Free - Price Match": ("Free - Price Match", "Gratis - Igualación de precios", "無料 - 価格調整"),
    "Expanded Distribution Channels": (
        "Expanded Distribution Channels",
        "Expanded Distribution",
        "Canales de distribución ampliada",
        "Distribución ampliada",
        "拡張流通チャネル",
        "拡張流通",
    ),
    "Pre Order": ("Pre Order", "Pre-Order", "Preorder", "Reserva", "Preventa", "予約注文", "予約"),
    "Kindle Countdown Deals": (
        "Kindle Countdown Deals",
        "Kindle Countdown Deal",
        "Ofertas Kindle Countdown",
        "Kindle Countdown セール",
    ),
    "Kindle Edition Normalized Pages (KENP)": (
        "Kindle Edition Normalized Pages (KENP)",
        "Kindle Edition Normalized Page (KENP)",
        "Kindle Edition Normalized Pages (KENP) Read",
        "Kindle Edition Normalized Page (KENP) Read",
        "KENP",
        "KENP Read",
        "KENP leídas",
        "Páginas KENP leídas",
        "既読 KENP",
    ),
}


@dataclass(frozen=True)
class Marketplace:
    """`storefront` as KDP names it in English; ISO-2 country; ISO 4217 currency of its prices."""

    storefront: str
    country: str
    currency: str


_MARKETPLACES = (
    Marketplace("Amazon.com", "US", "USD"),
    Marketplace("Amazon.co.uk", "GB", "GBP"),
    Marketplace("Amazon.de", "DE", "EUR"),
    Marketplace("Amazon.fr", "FR", "EUR"),
    Marketplace("Amazon.es", "ES", "EUR"),
    Marketplace("Amazon.it", "IT", "EUR"),
    Marketplace("Amazon.nl", "NL", "EUR"),
    Marketplace("Amazon.ie", "IE", "EUR"),
    Marketplace("Amazon.com.be", "BE", "EUR"),
    Marketplace("Amazon.se", "SE", "SEK"),
    Marketplace("Amazon.pl", "PL", "PLN"),
    Marketplace("Amazon.co.jp", "JP", "JPY"),
    Marketplace("Amazon.ca", "CA", "CAD"),
    Marketplace("Amazon.com.au", "AU", "AUD"),
    Marketplace("Amazon.com.br", "BR", "BRL"),
    Marketplace("Amazon.com.mx", "MX", "MXN"),
    Marketplace("Amazon.in", "IN", "INR"),
)


def folded(text: str) -> str:
    """The form in which two writings of one header are equal: width, case, spaces and footnote stars do not count."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    return re.sub(r"\s+", " ", re.sub(r"[*†]+\s*$", "", plain)).strip()


def _folded(aliases: Mapping[str, Mapping[str, Iterable[str]]], length: int | None) -> dict[str, tuple[str, str]]:
    return {
        folded(alias[:length]): (canonical, language)
        for canonical, by_language in aliases.items()
        for language, words in by_language.items()
        for alias in words
    }


_SHEET_BY_ALIAS = _folded(SHEETS, SHEET_NAME_LENGTH)
_COLUMN_BY_ALIAS = _folded(COLUMNS, None)
_SALES_PERIODS = frozenset(folded(word) for words in SALES_PERIOD.values() for word in words)
_TYPE_BY_ALIAS = {folded(alias): name for name, aliases in TRANSACTION_TYPES.items() for alias in aliases}
_MARKETPLACE_BY_NAME = {market.storefront.casefold(): market for market in _MARKETPLACES}
_FREE_WORDS = ("free", "gratis", "gratuit", "promoción gratuita", "無料")
_SUMMARY_ROYALTY = re.compile(r"(?:royalty|royalties|regalías|ロイヤリティ) ?\((?P<currency>[a-z]{3})\)")

SHEET_ALIASES = tuple(alias for words in SHEETS.values() for aliases in words.values() for alias in aliases)
TRANSACTION_ALIASES = tuple(alias for aliases in TRANSACTION_TYPES.values() for alias in aliases)
COLUMN_ALIASES = tuple(alias for words in COLUMNS.values() for aliases in words.values() for alias in aliases)


def sheet_of(name: str) -> str | None:
    """The English name of a sheet, or None."""
    known = _SHEET_BY_ALIAS.get(folded(name[:SHEET_NAME_LENGTH]))
    return known[0] if known else None


def column_of(header: str) -> str | None:
    """Our name of a column, or None; a Summary's royalty is "royalty_" and the currency, as `royalty_USD`."""
    plain = folded(header)
    if match := _SUMMARY_ROYALTY.fullmatch(plain):
        return f"royalty_{match['currency'].upper()}"
    known = _COLUMN_BY_ALIAS.get(plain)
    return known[0] if known else None


def language_of(headers: Iterable[str]) -> str:
    """The language most headers are written in; English where they do not tell."""
    found = [_COLUMN_BY_ALIAS[plain][1] for plain in map(folded, headers) if plain in _COLUMN_BY_ALIAS]
    return max(LANGUAGES, key=found.count)


def is_sales_period(text: str) -> bool:
    return folded(text).rstrip(":") in _SALES_PERIODS


def transaction_type(text: str) -> str | None:
    """In the English of KDP; an unknown one that says it is free is a promotion, any other is None."""
    plain = folded(text)
    return _TYPE_BY_ALIAS.get(plain) or ("Free - Promotion" if plain.startswith(_FREE_WORDS) else None)


def aliases_of(columns: Iterable[str]) -> list[str]:
    """All that the languages call these columns."""
    return [alias for column in columns for aliases in COLUMNS.get(column, {}).values() for alias in aliases]


def marketplace(name: str) -> Marketplace | None:
    return _MARKETPLACE_BY_NAME.get(name.strip().casefold())
