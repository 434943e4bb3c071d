-- The property types of which a market has sales after a day.
select distinct property_type
from property.comps
where market_slug = :market_slug and sale_date > :after
order by property_type
