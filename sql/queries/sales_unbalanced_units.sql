-- Days, titles and formats whose net units are not the copies sold minus those refunded that the counted rows of the ledger
-- state, free copies apart; only of months that were built from the ledger as it is.
with sums as (
    select
        owner_id,
        platform,
        period_start as day,
        title_id,
        format,
        units_sold,
        units_refunded,
        0 as net_units
    from sales.sales_events
    where superseded_by is null and kind <> 'free'
    union all
    select
        owner_id,
        platform,
        day,
        title_id,
        format,
        0 as units_sold,
        0 as units_refunded,
        net_units
    from sales.sales_daily
),

balances as (
    select
        owner_id,
        platform,
        day,
        title_id,
        format,
        sum(units_sold) as units_sold,
        sum(units_refunded) as units_refunded,
        sum(net_units) as net_units
    from sums
    group by owner_id, platform, day, title_id, format
    having sum(net_units) <> sum(units_sold) - sum(units_refunded)
)

select
    balances.owner_id,
    balances.platform,
    balances.day,
    balances.title_id,
    balances.format,
    balances.units_sold,
    balances.units_refunded,
    balances.net_units
from balances
inner join sales.ledger_months as months
    on
        balances.owner_id = months.owner_id
        and balances.platform = months.platform
        and date_trunc('month', balances.day) = months.month
where months.daily_version = months.version
order by balances.owner_id, balances.platform, balances.day, balances.title_id, balances.format
limit 1000
