-- How fresh every served asset is, and of when its newest data are.
select
    asset_key,
    state,
    data_state,
    reason,
    last_materialized_at,
    data_as_of,
    checked_at
from operations.freshness_states
order by asset_key
