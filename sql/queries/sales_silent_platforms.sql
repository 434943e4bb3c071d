-- Platforms of which an owner has handed in no report for 40 days, although there were reports before: a month's figures
-- are there by the 15th of the next.
select
    owner_id,
    platform,
    max(exported_at) as last_seen_at,
    max(period_end) as last_day
from sales.report_files
where status = 'ingested'
group by owner_id, platform
having max(exported_at) < clock_timestamp() - interval '40 days'
order by owner_id, platform
