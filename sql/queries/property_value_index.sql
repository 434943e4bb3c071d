-- The home value index of one market.
select
    market_slug,
    as_of_date,
    value
from property.fundamentals
where market_slug = :market_slug and metric = 'home_value_index_usd'
order by as_of_date
