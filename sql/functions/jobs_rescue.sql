-- Ends the attempts of workers that are gone: whose lease is over, or whose Dagster run is one of `ended_runs`. The job
-- is tried again while it has attempts left. A hundred at a time.
create or replace function operations.rescue_jobs(ended_runs text[] default '{}')
returns table (job_id uuid, status text)
language plpgsql
set search_path = pg_catalog
as $$
#variable_conflict use_column
declare
    lost record;
begin
    for lost in
        select jobs.job_id, jobs.lease_until, attempts.attempt_id
        from operations.jobs
        inner join operations.job_attempts as attempts on jobs.job_id = attempts.job_id
        where
            jobs.status = 'RUNNING' and attempts.finished_at is null
            and (jobs.lease_until < clock_timestamp() or jobs.dagster_run_id = any(ended_runs))
        order by jobs.lease_until
        limit 100
        for update of jobs skip locked
    loop
        job_id := lost.job_id;
        status := operations.settle_job(
            lost.attempt_id, 'lost', kind => 'lost',
            message => 'the process that worked on it is gone: it held the job and did not settle it'
        );
        return next;
    end loop;
end
$$;

revoke all on function operations.rescue_jobs(text[]) from public;
grant execute on function operations.rescue_jobs(text[]) to pipeline_worker;
