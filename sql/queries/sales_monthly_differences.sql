-- Months whose sums are not those of their days, and by how much; only months that were built from the days as they
-- are.
with sums as (
    select
        owner_id,
        platform,
        date_trunc('month', day)::date as month,
        currency,
        sum(row_count) as row_count,
        sum(net_units + free_units) as units,
        sum(pages_read) as pages_read,
        sum(royalty) as royalty,
        -- dollars of a month are known where those of all its parts are
        case
            when count(*) filter (where royalty is not null and royalty_usd is null) = 0 then sum(royalty_usd)
        end as royalty_usd
    from sales.sales_daily
    group by owner_id, platform, date_trunc('month', day), title_id, format, country, currency
    union all
    select
        owner_id,
        platform,
        month,
        currency,
        -row_count as row_count,
        -(net_units + free_units) as units,
        -pages_read as pages_read,
        -royalty as royalty,
        -royalty_usd as royalty_usd
    from sales.sales_monthly
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
    months.monthly_version = months.daily_version
    and (
        differences.row_count <> 0 or differences.units <> 0 or differences.pages_read <> 0
        or differences.royalty <> 0 or differences.royalty_usd <> 0
    )
order by differences.owner_id, differences.platform, differences.month, differences.currency
limit 1000
