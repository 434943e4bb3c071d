-- Days whose net units are not those sold minus those refunded.
select
    day,
    owner_id,
    platform,
    title_id,
    format,
    units_sold,
    units_refunded,
    net_units
from sales.sales_daily
where net_units <> units_sold - units_refunded
order by day, owner_id, platform, title_id
limit 1000
