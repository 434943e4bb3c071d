-- Values of one metric of one market, newest first.
select
    metric,
    value,
    unit,
    as_of_date,
    source,
    revision,
    received_at
from property.fundamentals
where
    market_slug = :market_slug
    and metric = :metric
    and (cast(:from_date as date) is null or as_of_date >= cast(:from_date as date))
    and (cast(:to_date as date) is null or as_of_date < cast(:to_date as date))
order by as_of_date desc
limit :limit
