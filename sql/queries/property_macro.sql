-- Values of one macro series as they are today, newest day first.
select
    observation_date,
    value,
    vintage_date,
    confirmed_date,
    source,
    received_at
from property.macro_latest
where
    series_id = :series_id
    and (cast(:from_date as date) is null or observation_date >= cast(:from_date as date))
    and (cast(:to_date as date) is null or observation_date < cast(:to_date as date))
order by observation_date desc
limit :limit
