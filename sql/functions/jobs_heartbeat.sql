-- Extends the leases of all that `claimer` still holds; for each attempt, whether somebody asked to cancel the job.
create or replace function operations.heartbeat_jobs(claimer text, lease interval)
returns table (attempt_id bigint, is_cancel_requested boolean)
language sql
set search_path = pg_catalog
as $$
    update operations.jobs
    set lease_until = clock_timestamp() + lease
    from operations.job_attempts as attempts
    where
        jobs.worker = claimer and jobs.status = 'RUNNING'
        and attempts.job_id = jobs.job_id and attempts.finished_at is null
    returning attempts.attempt_id, jobs.cancel_requested_at is not null
$$;

revoke all on function operations.heartbeat_jobs(text, interval) from public;
grant execute on function operations.heartbeat_jobs(text, interval) to pipeline_worker;
