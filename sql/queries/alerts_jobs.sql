-- How many jobs ended since :since, per type: how many failed, and how the newest of them did. A permanent error is the
-- asker's, any other one ours.
select
    job_type,
    count(*) as finished_count,
    count(*) filter (where status = 'FAILED') as failed_count,
    (array_agg(status order by finished_at desc))[1] as newest_status,
    (array_agg(error_kind order by finished_at desc))[1] as newest_error_kind,
    (array_agg(error_message order by finished_at desc))[1] as newest_error_message,
    (array_agg(job_id::text order by finished_at desc))[1] as newest_job_id
from operations.jobs
where finished_at >= :since and status in ('COMPLETED', 'FAILED')
group by job_type
order by job_type
