-- The newest value of each metric of one market.
select distinct on (metric)
    metric,
    value,
    unit,
    as_of_date,
    source,
    revision,
    received_at
from property.fundamentals
where market_slug = :market_slug
order by metric asc, as_of_date desc
