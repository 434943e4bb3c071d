-- The newest accuracy figures of one market, or of all (`all`).
select
    as_of_date,
    market_slug,
    property_type,
    method_version,
    window_days,
    prediction_count,
    valued_count,
    mdape_ratio,
    ppe10_ratio,
    ppe20_ratio,
    bias_ratio,
    error_stddev_ratio
from property.prediction_accuracy
where
    market_slug = :market_slug
    and as_of_date = (
        select max(newest.as_of_date)
        from property.prediction_accuracy as newest
        where newest.market_slug = :market_slug
    )
order by property_type, method_version
