-- Every known market.
select
    symbol,
    name,
    base_asset,
    quote_asset,
    asset_class,
    calendar,
    periods_per_year,
    first_day,
    provider
from market.markets
order by symbol
