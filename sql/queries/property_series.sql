-- The macro series that there are.
select distinct series_id
from property.macro_observations
order by series_id
limit :limit
