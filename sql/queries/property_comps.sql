-- Comparable sales of one market, newest first.
select
    source,
    comp_id,
    property_type,
    sale_date,
    sale_price_usd,
    living_area_sqft,
    bedrooms,
    bathrooms,
    lot_sqft,
    year_built,
    latitude,
    longitude,
    address,
    revision,
    received_at
from property.comps
where
    market_slug = :market_slug
    and (cast(:property_type as text) is null or property_type = cast(:property_type as text))
    and (cast(:from_date as date) is null or sale_date >= cast(:from_date as date))
    and (cast(:to_date as date) is null or sale_date < cast(:to_date as date))
    and (
        cast(:after_date as date) is null
        or (sale_date, source, comp_id)
        < (cast(:after_date as date), cast(:after_source as text), cast(:after_id as text))
    )
order by sale_date desc, source desc, comp_id desc
limit :limit
