-- Whether the person in app.user_id was active, in the columns of active_users_latest: 1 or 0 people.
select
    date_trunc('day', now(), 'UTC')::date as day,
    max((timestamp >= date_trunc('day', now(), 'UTC'))::integer) as active_users,
    max((timestamp >= date_trunc('day', now(), 'UTC') - interval '6 days')::integer) as active_users_7_days,
    1 as active_users_28_days,
    count(distinct session_id) filter (where timestamp >= date_trunc('day', now(), 'UTC')) as sessions
from events.platform_events
where
    user_id = nullif(current_setting('app.user_id', true), '')
    and uncounted_reason is null
    and timestamp >= date_trunc('day', now(), 'UTC') - interval '27 days'
having count(*) > 0
