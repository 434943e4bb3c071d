-- Currencies in which royalties of the last 100 days have no rate although their period is over.
select
    currency,
    count(*) as row_count,
    min(period_end) as first_day,
    max(period_end) as last_day
from sales.sales_events
where
    coalesce(royalty, estimated_royalty) <> 0 and fx_rate is null and superseded_by is null
    and period_end between current_date - 100 and current_date
group by currency
order by currency
