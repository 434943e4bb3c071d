-- The metrics that have not expired.
select
    metric_name,
    dimensions,
    metric_value,
    updated_at,
    expires_at
from events.platform_metrics_realtime
where expires_at > now()
order by metric_name, dimensions
limit 200
