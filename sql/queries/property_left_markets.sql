-- Markets with predictions of sales that are in another market now.
select distinct predictions.market_slug
from property.predictions
inner join property.comps on predictions.subject_id = comps.source || '/' || comps.comp_id
where predictions.is_out_of_sample and predictions.market_slug <> comps.market_slug
order by predictions.market_slug
