-- Months whose days do not add up to what is counted of the ledger, and by how much; only months that were built from the
-- ledger as it is.
with sums as (
    select
        owner_id,
        platform,
        date_trunc('month', period_start)::date as month,
        currency,
        1 as row_count,
        net_units as units,
        pages_read,
        coalesce(royalty, estimated_royalty) as royalty,
        royalty_usd
    from sales.sales_events
    where superseded_by is null
    union all
    select
        owner_id,
        platform,
        date_trunc('month', day)::date as month,
        currency,
        -row_count as row_count,
        -(net_units + free_units) as units,
        -pages_read as pages_read,
        -royalty as royalty,
        -royalty_usd as royalty_usd
    from sales.sales_daily
),

differences as (
    select
        owner_id,
        platform,
        month,
        currency,
        sum(row_count) as row_count,
        sum(units) as units,
        sum(pages_read) as pages_read,
        coalesce(sum(royalty), 0) as royalty,
        coalesce(sum(royalty_usd), 0) as royalty_usd
    from sums
    group by owner_id, platform, month, currency
)

select
    differences.owner_id,
    differences.platform,
    differences.month,
    differences.currency,
    differences.row_count,
    differences.units,
    differences.pages_read,
    differences.royalty,
    differences.royalty_usd
from differences
inner join sales.ledger_months as months
    on
        differences.owner_id = months.owner_id
        and differences.platform = months.platform
        and differences.month = months.month
where
    months.daily_version = months.version
    and (
        differences.row_count <> 0 or differences.units <> 0 or differences.pages_read <> 0
        or differences.royalty <> 0 or differences.royalty_usd <> 0
    )
order by differences.owner_id, differences.platform, differences.month, differences.currency
limit 1000
