"""The names of KDP's sheets and the headers of their columns in each language, as FORMATS E1 lists them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

MONTHS_EN = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
MONTHS_ES = [
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
]


@dataclass(frozen=True)
class Language:
    """Names of sheets and headers as one language of KDP's interface writes them."""

    code: str
    sheets: Mapping[str, str]
    combined: Sequence[str]
    ebook: Sequence[str]
    printed: Sequence[str]
    kenp: Sequence[str]
    orders: Sequence[str]
    prior_ebook: Sequence[str]
    prior_kenp: Sequence[str]
    sales_period: str
    not_applicable: str
    transactions: Mapping[str, str]

    def month(self, day: date) -> str:
        if self.code == "ja":
            return f"{day.month}月 {day.year}"
        return f"{(MONTHS_ES if self.code == 'es' else MONTHS_EN)[day.month - 1]} {day.year}"


def header_row(text: str) -> list[str]:
    return [header.strip() for header in text.split("|")]


ENGLISH = Language(
    code="en",
    sheets={},
    combined=header_row(
        "Royalty Date | Title | Author Name | ASIN/ISBN | Marketplace | Royalty Type | Transaction Type | Units Sold | "
        "Units Refunded | Net Units Sold | Avg. List Price without tax | Avg. Offer Price without tax | "
        "Avg. Delivery/Manufacturing cost | Royalty | Currency"
    ),
    ebook=header_row(
        "Royalty Date | Title | Author Name | ASIN | Marketplace | Royalty Type | Transaction Type | Units Sold | "
        "Units Refunded | Net Units Sold | Avg. List Price without tax | Avg. Offer Price without tax | "
        "Avg. File Size (MB) | Avg. Delivery Cost | Royalty | Currency"
    ),
    printed=header_row(
        "Royalty Date | Order Date | Title | Author Name | ISBN | Marketplace | Royalty Type | Transaction Type | "
        "Units Sold | Units Refunded | Net Units Sold | Avg. List Price without tax | Avg. Offer Price without tax | "
        "Avg. Manufacturing Cost | Royalty | Currency | ASIN"
    ),
    kenp=header_row("Date | Title | Author Name | ASIN | Marketplace | Kindle Edition Normalized Page (KENP) Read"),
    orders=header_row("Date | Title | Author Name | ASIN | Marketplace | Paid Units | Free Units"),
    prior_ebook=header_row(
        "Title | Author | ASIN | Marketplace | Units Sold | Units Refunded | Net Units Sold | Royalty Type | "
        "Transaction Type | Currency | Avg. List Price without tax | Avg. Offer Price without tax | "
        "Avg. File Size (MB) | Avg. Delivery Cost | Royalty"
    ),
    prior_kenp=header_row("Title | Author | ASIN | Marketplace | Kindle Edition Normalized Page (KENP) Read"),
    sales_period="Sales Period",
    not_applicable="N/A",
    transactions={},
)
SPANISH = Language(
    code="es",
    sheets={
        "Report Definitions": "Definiciones del informe",
        "Summary": "Resumen",
        "Combined Sales": "Ventas combinadas",
        "eBook Royalty": "Regalías de eBooks",
        "Paperback Royalty": "Regalías de libros impresos",
        "Hardcover Royalty": "Regalías de los libros de tapa ",
        "Orders Processed": "Pedidos procesados",
        "eBook Orders Placed": "Pedidos completados de eBooks",
        "KENP Read": "KENP leídas",
    },
    combined=header_row(
        "Fecha de las regalías | Título | Nombre del autor | ASIN/ISBN | Tienda | Tipo de regalía | "
        "Tipo de transacción | Unidades vendidas | Unidades devueltas | Unidades netas vendidas | "
        "Precio de lista medio sin impuestos | Precio de oferta medio sin impuestos | "
        "Gasto medio de entrega/producción | Regalías | Moneda"
    ),
    ebook=header_row(
        "Fecha de las regalías | Título | Nombre del autor | ASIN | Tienda | Tipo de regalía | Tipo de transacción | "
        "Unidades vendidas | Unidades devueltas | Unidades netas vendidas | Precio de lista medio sin impuestos | "
        "Precio de oferta medio sin impuestos | Tamaño medio del archivo (MB) | Gasto medio de envío | Regalías | Moneda"
    ),
    printed=header_row(
        "Fecha de las regalías | Fecha de pedido | Título | Nombre del autor | ISBN | Tienda | Tipo de regalía | "
        "Tipo de transacción | Unidades vendidas | Unidades devueltas | Unidades netas vendidas | "
        "Precio de lista medio sin impuestos | Precio de oferta medio sin impuestos | Gasto de producción medio | "
        "Regalías | Moneda | ASIN"
    ),
    kenp=header_row("Fecha | Título | Nombre del autor | ASIN | Tienda | Páginas KENP leídas"),
    orders=header_row("Fecha | Título | Nombre del autor | ASIN | Tienda | Unidades pagadas | Unidades gratuitas"),
    prior_ebook=header_row(
        "Título | Autor | ASIN | Tienda | Unidades vendidas | Unidades devueltas | Unidades netas vendidas | "
        "Tipo de regalía | Tipo de transacción | Moneda | Precio de lista medio sin impuestos | "
        "Precio de oferta medio sin impuestos | Tamaño medio del archivo (MB) | Gasto medio de envío | Regalías"
    ),
    prior_kenp=header_row("Título | Autor | ASIN | Tienda | Páginas KENP leídas"),
    sales_period="Periodo de ventas",
    not_applicable="N/A",
    transactions={
        "Standard": "Estándar",
        "Standard - Paperback": "Estándar - Tapa blanda",
        "Standard - Hardcover": "Estándar - Tapa dura",
        "Free - Promotion": "Promoción gratuita",
        "Kindle Countdown Deals": "Ofertas Kindle Countdown",
    },
)
JAPANESE = Language(
    code="ja",
    sheets={
        "Report Definitions": "レポートの定義",
        "Summary": "概要",
        "eBook Royalty": "電子書籍のロイヤリティ",
        "Paperback Royalty": "ペーパーバックのロイヤリティ",
        "Orders Processed": "確定済み注文",
        "KENP Read": "既読 KENPC",
    },
    combined=(),
    ebook=header_row(
        "ロイヤリティ発生日 | タイトル | 著者名 | ASIN | マーケットプレイス | ロイヤリティの種類 | コンテンツ区分 | "
        "注文数 | 払い戻し数 | 実質注文数 | 平均希望小売価格 (税別) | 平均販売価格 (税別) | 平均ファイルサイズ（MB） | "  # noqa: RUF001
        "平均配信コスト | ロイヤリティ | 通貨"
    ),
    printed=header_row(
        "ロイヤリティ発生日 | 注文日 | タイトル | 著者名 | ISBN | マーケットプレイス | ロイヤリティの種類 | "
        "コンテンツ区分 | 注文数 | 払い戻し数 | 実質注文数 | 平均希望小売価格 (税別) | 平均販売価格 (税別) | "
        "平均印刷コスト | ロイヤリティ | 通貨 | ASIN"
    ),
    kenp=header_row(
        "日付 | タイトル | 著者名 | ASIN | マーケットプレイス | 既読 KENP (Kindle Edition Normalized Pages)"
    ),
    orders=header_row("日付 | タイトル | 著者名 | ASIN | マーケットプレイス | 有料ダウンロード数 | 無料ダウンロード数"),
    prior_ebook=header_row(
        "タイトル | 著者 | ASIN | マーケットプレイス | 注文数 | 払い戻し数 | 実質注文数 | ロイヤリティの種類 | "
        "コンテンツ区分 | 通貨 | 平均希望小売価格 (税別) | 平均販売価格 (税別) | 平均ファイルサイズ（MB） | "  # noqa: RUF001
        "平均配信コスト | ロイヤリティ"
    ),
    prior_kenp=header_row("タイトル | 著者 | ASIN | マーケットプレイス | 既読 KENP (Kindle Edition Normalized Pages)"),
    sales_period="販売期間",
    not_applicable="該当なし",
    transactions={"Standard": "標準", "Free - Promotion": "無料 - プロモーション"},
)
LANGUAGES = (ENGLISH, SPANISH, JAPANESE)
