-- Months that no report covers although reports of the platform began before; a final month takes up to 20 days to come.
select
    owner_id,
    platform,
    month
from sales.coverage
where state = 'missing' and month < date_trunc('month', current_date - 20)
order by owner_id, platform, month
