-- How old the fundamentals of one market are.
select
    last_as_of_date,
    age_days,
    max_age_days,
    is_stale,
    checked_at
from property.fundamentals_staleness
where market_slug = :market_slug
