-- How many wait in each queue, and for how long the oldest has.
select
    queue,
    depth,
    oldest_age_seconds
from operations.queue_depths()
where depth > 0
order by queue
