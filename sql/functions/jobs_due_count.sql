-- How many jobs a claimer could be given now; arguments as for claim_jobs.
create or replace function operations.due_job_count(types text[], limits integer[])
returns bigint
language sql
stable
set search_path = pg_catalog
as $$
    select coalesce(sum(least(waiting.due_count, given.most_at_once - waiting.running_count)), 0)::bigint
    from unnest(types, limits) as given (name, most_at_once)
    cross join lateral (
        select
            count(*) filter (where jobs.status <> 'RUNNING' and jobs.run_at <= clock_timestamp()) as due_count,
            count(*) filter (where jobs.status = 'RUNNING') as running_count
        from operations.jobs
        where jobs.job_type = given.name and jobs.status in ('QUEUED', 'RETRYING', 'RUNNING')
    ) as waiting
    where given.most_at_once is null or given.most_at_once > waiting.running_count
$$;

revoke all on function operations.due_job_count(text[], integer[]) from public;
grant execute on function operations.due_job_count(text[], integer[]) to pipeline_worker;
