-- The last rate of a currency on or before a day, and of which day it is; none that is older than 45 days: a currency that
-- is not quoted any more has no rate. The dollar is 1 on every day.
create or replace function sales.usd_rate(currency text, day date)
returns table (fx_rate numeric, fx_date date)
language sql
stable
rows 1
set search_path = pg_catalog
as $$
    select 1::numeric, usd_rate.day
    where usd_rate.currency = 'USD'
    union all
    (
        select rates.usd_per_unit, rates.rate_date
        from sales.exchange_rates as rates
        where
            usd_rate.currency <> 'USD' and rates.currency = usd_rate.currency
            and rates.rate_date between usd_rate.day - 45 and usd_rate.day
        order by rates.rate_date desc
        limit 1
    )
$$;

revoke all on function sales.usd_rate(text, date) from public;
grant execute on function sales.usd_rate(text, date) to pipeline_worker;
