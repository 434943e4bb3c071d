-- The newest snapshot of one market.
select
    symbol,
    as_of,
    price,
    change_24h_ratio,
    volume_24h,
    volatility_ratio,
    roi_1d_ratio,
    roi_7d_ratio,
    roi_30d_ratio,
    provider
from market.snapshots
where symbol = :symbol
order by as_of desc
limit 1
