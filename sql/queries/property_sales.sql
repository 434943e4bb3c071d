-- The sales of one market and property type after a day, and whether each is valued out of sample as it is now.
select
    comps.source || '/' || comps.comp_id as subject_id,
    comps.market_slug,
    comps.property_type,
    comps.sale_date,
    comps.sale_price_usd,
    comps.living_area_sqft,
    comps.bedrooms,
    comps.bathrooms,
    comps.latitude,
    comps.longitude,
    comps.address,
    comps.revision,
    predictions.prediction_id is not null as is_valued
from property.comps
left join
    property.predictions
    on
        predictions.is_out_of_sample
        and comps.source || '/' || comps.comp_id = predictions.subject_id
        and predictions.method_version = :method_version
        and comps.revision = predictions.subject_revision
where
    comps.market_slug = :market_slug
    and comps.property_type = :property_type
    and comps.sale_date > :after
order by comps.sale_date desc, comps.source asc, comps.comp_id asc
