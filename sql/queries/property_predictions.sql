-- Predictions of the sales of one market, newest first; those of jobs are their owners'.
select
    prediction_id,
    property_type,
    subject_id,
    subject,
    valuation_date,
    estimate_usd,
    low_usd,
    high_usd,
    comp_count,
    dispersion_ratio,
    confidence_ratio,
    filter_step,
    time_adjustment,
    is_out_of_sample,
    sale_price_usd,
    method_version,
    made_at
from property.predictions
where
    market_slug = :market_slug
    and is_out_of_sample
    and (
        cast(:after_made_at as timestamptz) is null
        or (made_at, prediction_id) < (cast(:after_made_at as timestamptz), cast(:after_id as text))
    )
order by made_at desc, prediction_id desc
limit :limit
