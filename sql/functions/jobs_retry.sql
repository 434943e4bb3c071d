-- Puts a failed or cancelled job of the caller (app.user_id), any for an operator (app.scope), back into the queue, due
-- at once and with at least one attempt left. The job's status then: anything but QUEUED cannot be retried; NULL if the
-- caller has no such job. Check violation after a thousand attempts.
create or replace function operations.retry_job(wanted uuid)
returns text
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    job operations.jobs;
begin
    select jobs.* into job
    from operations.jobs
    where
        jobs.job_id = wanted
        and (
            current_setting('app.scope', true) = 'operator'
            or jobs.owner_id = nullif(current_setting('app.user_id', true), '')
        )
    for update;
    if job.status in ('FAILED', 'CANCELLED') then
        if job.attempt_count >= 1000 then
            raise exception 'job % has been tried 1000 times', wanted using errcode = 'check_violation';
        end if;
        update operations.jobs
        set
            status = 'QUEUED', run_at = clock_timestamp(), finished_at = null, cancel_requested_at = null,
            error_kind = null, error_message = null, postponed_count = 0,
            max_attempts = greatest(max_attempts, attempt_count + 1)
        where job_id = wanted;
        return 'QUEUED';
    end if;
    return job.status;
end
$$;

revoke all on function operations.retry_job(uuid) from public;
grant execute on function operations.retry_job(uuid) to pipeline_worker, pipeline_intake;
