-- Reads of each service's cache since :since (to the minute), and how many the cache answered itself; a stale value that
-- stood in for a source that is down is none.
select
    labels ->> 'service' as service,
    sum(value) as read_count,
    coalesce(sum(value) filter (where name = 'cache_hit'), 0) as hit_count
from operations.metric_minutes
where
    minute >= date_trunc('minute', cast(:since as timestamptz))
    and name in ('cache_hit', 'cache_miss', 'cache_stale')
    and labels ? 'service'
group by labels ->> 'service'
order by service
