-- Of the jobs that completed or failed since an instant, the part that failed, 0 to 1; cancelled ones do not count.
-- NULL for fewer than `at_least` jobs. The caller must be allowed to see the jobs.
create or replace function operations.job_failure_ratio(since timestamptz, at_least bigint default 1)
returns double precision
language sql stable
set search_path = pg_catalog
as $$
    select case
        when count(*) >= at_least
            then (count(*) filter (where status = 'FAILED'))::double precision / nullif(count(*), 0)
    end
    from operations.jobs
    where finished_at >= since and status in ('COMPLETED', 'FAILED')
$$;

revoke all on function operations.job_failure_ratio(timestamptz, bigint) from public;
grant execute on function operations.job_failure_ratio(timestamptz, bigint)
to pipeline_worker, pipeline_intake, pipeline_reader;
