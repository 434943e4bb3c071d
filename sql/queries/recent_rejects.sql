-- The newest rejects.
select
    reject_id,
    source,
    reason,
    payload,
    first_seen_at,
    last_seen_at,
    seen_count
from operations.rejects
order by last_seen_at desc, reject_id desc
limit :limit
