-- Platforms of which an owner has had no report for longer than they take, although there were reports before. Files are handed
-- in by the month, and a month's final figures are there by the 15th of the next: 40 days. Gumroad's API is read once a day:
-- where it ever was, 3 days.
select
    owner_id,
    platform,
    max(exported_at) as last_seen_at,
    max(period_end) as last_day,
    case when bool_or(report = 'gumroad_api') then 3 else 40 end as days_allowed
from sales.report_files
where status = 'ingested'
group by owner_id, platform
having
    max(exported_at)
    < clock_timestamp() - case when bool_or(report = 'gumroad_api') then interval '3 days' else interval '40 days' end
order by owner_id, platform
