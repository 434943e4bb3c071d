-- The markets that have fundamentals, and those that have comparable sales.
select
    market_slug,
    bool_or(has_fundamentals) as has_fundamentals,
    bool_or(not has_fundamentals) as has_comps
from (
    select distinct
        market_slug,
        true as has_fundamentals
    from property.fundamentals
    union all
    select distinct
        market_slug,
        false as has_fundamentals
    from property.comps
) as markets
group by market_slug
order by market_slug
limit :limit
