-- How many people were active up to the newest day on record.
select
    day,
    active_users,
    active_users_7_days,
    active_users_28_days,
    sessions
from events.daily_active_users
where day <= date_trunc('day', now(), 'UTC')::date
order by day desc
limit 1
