-- Everybody's events of the current UTC day, per type and category.
select
    event_type,
    event_category,
    event_count,
    uncounted_count
from events.event_aggregations_daily
where bucket_start = date_trunc('day', now(), 'UTC')
order by event_count desc, event_type asc, event_category asc
