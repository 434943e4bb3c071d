"""What the status page says of markets: the newest snapshot of each, and its price over the last thirty days. Pure.

Of the time before the first snapshot, the returns of the newest one say what the price was 30, 7 and 1 days ago.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from ingestion_pipeline.intake.status_charts import sparkline
from ingestion_pipeline.intake.status_sections import (
    NOTHING,
    Column,
    Html,
    Row,
    Section,
    code,
    number,
    percentage,
    say,
    since,
    table,
    text,
)

MOST_MARKETS = 50
_RETURNS = {"roi_30d_ratio": timedelta(days=30), "roi_7d_ratio": timedelta(days=7), "roi_1d_ratio": timedelta(days=1)}
_DEAR = 1_000

# at most sixty look-ups in the key for each market that is shown, however many snapshots and markets there are
_MARKETS = f"""
select
    markets.symbol, markets.name, markets.quote_asset, newest.as_of, newest.price, newest.roi_1d_ratio,
    newest.roi_7d_ratio, newest.roi_30d_ratio, newest.volatility_ratio, history.times, history.prices, now() as now,
    (select count(*) from market.markets) as market_count
from (select * from market.markets order by symbol limit {MOST_MARKETS}) as markets
left join lateral (
    select * from market.snapshots as snapshots
    where snapshots.symbol = markets.symbol
    order by snapshots.as_of desc limit 1
) as newest on true
left join lateral (
    select array_agg(found.as_of order by found.as_of) as times, array_agg(found.price order by found.as_of) as prices
    from generate_series(now() - interval '30 days', now() - interval '12 hours', interval '12 hours') as half (day)
    cross join lateral (
        select snapshots.as_of, snapshots.price from market.snapshots as snapshots
        where
            snapshots.symbol = markets.symbol and snapshots.as_of > half.day
            and snapshots.as_of <= half.day + interval '12 hours'
        order by snapshots.as_of desc limit 1
    ) as found
) as history on true
order by markets.symbol
"""


def markets(rows: Sequence[Row]) -> Html:
    """A line a market, without figures where it has no snapshot yet."""
    if not rows:
        return say("There are no markets yet: they come when market/markets is materialized.")
    columns = (
        Column("Market"),
        Column("Price", "n"),
        Column("1 day", "n"),
        Column("7 days", "n wide"),
        Column("30 days", "n wide"),
        Column("Last 30 days"),
        Column("Volatility", "n wide"),
        Column("As of", "wide"),
    )
    more = rows[0]["market_count"] - len(rows)
    return Html(table(columns, [_line(row) for row in rows]) + (say(f"and {more:,} more") if more else ""))


def price_points(row: Row) -> list[tuple[datetime, float]]:
    """When the price was what, ascending: snapshots, and before the first of them what the newest one's returns say."""
    known = list(zip(row["times"] or [], row["prices"] or [], strict=True))
    first = known[0][0] if known else row["as_of"]
    before = [
        (row["as_of"] - ago, row["price"] / (1 + row[name]))
        for name, ago in _RETURNS.items()
        if row[name] is not None and row[name] > -1 and row["as_of"] - ago < first
    ]
    return [*before, *known]


def _line(row: Row) -> list[Html]:
    names = f"{text(row['name'], longest=40)} in {text(row['quote_asset'], longest=10)}"
    name = Html(f'{code(row["symbol"])}<br><span class="faint">{names}</span>')
    if row["as_of"] is None:
        return [name, Html('<span class="faint">no price yet</span>'), *[NOTHING] * 6]
    points = [(instant.timestamp(), price) for instant, price in price_points(row)]
    label = f"price of {row['symbol']} over 30 days"
    return [
        name,
        _price(row["price"]),
        percentage(row["roi_1d_ratio"]),
        percentage(row["roi_7d_ratio"]),
        percentage(row["roi_30d_ratio"]),
        Html(sparkline(points, label=label) or NOTHING),
        NOTHING if row["volatility_ratio"] is None else Html(f"{row['volatility_ratio'] * 100:,.0f} %"),
        since(row["as_of"], row["now"]),
    ]


def _price(price: float) -> Html:
    """With as many digits as matter."""
    if price >= _DEAR:
        return number(price, 0)
    return number(price, 2) if price >= 1 else Html(f"{Decimal(f'{price:.4g}'):f}")


MARKETS = Section(title="Markets", query=_MARKETS, render=markets)
