-- Predictions in one market, newest first.
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
    made_at,
    job_id
from property.predictions
where
    market_slug = :market_slug
    and (cast(:job_id as text) is null or job_id = cast(:job_id as text))
    and (cast(:is_out_of_sample as boolean) is null or is_out_of_sample = cast(:is_out_of_sample as boolean))
    and (
        cast(:after_made_at as timestamptz) is null
        or (made_at, prediction_id) < (cast(:after_made_at as timestamptz), cast(:after_id as text))
    )
order by made_at desc, prediction_id desc
limit :limit
