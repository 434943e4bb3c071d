-- Cancels a job of the caller (app.user_id), any job for an operator (app.scope): at once while it waits; while it runs,
-- its handler is asked to end. The job's status then: RUNNING is asked for, COMPLETED or FAILED was too late; NULL if
-- the caller has no such job.
create or replace function operations.cancel_job(wanted uuid)
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
    if job.status in ('QUEUED', 'RETRYING') then
        update operations.jobs
        set status = 'CANCELLED', cancel_requested_at = clock_timestamp(), finished_at = clock_timestamp()
        where job_id = wanted;
        return 'CANCELLED';
    elsif job.status = 'RUNNING' and job.cancel_requested_at is null then
        update operations.jobs set cancel_requested_at = clock_timestamp() where job_id = wanted;
    end if;
    return job.status;
end
$$;

revoke all on function operations.cancel_job(uuid) from public;
grant execute on function operations.cancel_job(uuid) to pipeline_worker, pipeline_intake;
