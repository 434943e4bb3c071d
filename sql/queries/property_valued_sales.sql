-- Sales after a day that were valued out of sample by one method.
select
    market_slug,
    property_type,
    valuation_date,
    estimate_usd,
    sale_price_usd
from property.predictions
where is_out_of_sample and method_version = :method_version and valuation_date > :after
