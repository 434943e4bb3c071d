-- Markets whose newest fundamental is of a day before :oldest.
select
    market_slug,
    last_as_of_date
from property.fundamentals_staleness
where last_as_of_date < :oldest
order by last_as_of_date, market_slug
