-- The events of the person in app.user_id on the current UTC day, per type and category.
select
    event_type,
    event_category,
    count(*) filter (where uncounted_reason is null) as event_count,
    count(*) filter (where uncounted_reason is not null) as uncounted_count
from events.platform_events
where
    user_id = nullif(current_setting('app.user_id', true), '')
    and timestamp >= date_trunc('day', now(), 'UTC')
group by event_type, event_category
order by event_count desc, event_type asc, event_category asc
