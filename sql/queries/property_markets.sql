-- By service the markets that have something of it, those that received some last first.
(
    select
        'fundamentals' as service,
        market_slug
    from property.fundamentals
    group by market_slug
    order by max(received_at) desc, market_slug asc
    limit :limit
)
union all
(
    select
        'comps' as service,
        market_slug
    from property.comps
    group by market_slug
    order by max(received_at) desc, market_slug asc
    limit :limit
)
