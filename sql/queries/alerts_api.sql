-- How long requests since :since took, in milliseconds, without those whose paths wait for a job on purpose.
select
    count(*) as request_count,
    percentile_cont(0.95) within group (order by duration_ms) as p95_ms
from operations.api_requests
where occurred_at >= :since and path <> all(cast(:waiting_paths as text[]))
having count(*) > 0
