-- The overall state of health, as it was last evaluated.
select
    status,
    since,
    reasons,
    checked_at
from operations.health_states
where service = 'overall'
