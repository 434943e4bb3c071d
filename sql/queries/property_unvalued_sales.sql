-- Markets and property types with sales that no valuation out of sample knows in their present revision.
select
    comps.market_slug,
    comps.property_type,
    min(comps.sale_date) as first_sale_date
from property.comps
left join
    property.predictions
    on
        predictions.is_out_of_sample
        and comps.source || '/' || comps.comp_id = predictions.subject_id
        and predictions.method_version = :method_version
        and comps.revision = predictions.subject_revision
where predictions.prediction_id is null
group by comps.market_slug, comps.property_type
order by comps.market_slug, comps.property_type
