-- How long a job waits after its attempt number `attempt` failed: 5 s, 10 s, 20 s … at most 10 minutes, a fifth more or
-- less, so that those that failed together do not come back together.
create or replace function operations.job_backoff(attempt integer)
returns interval
language sql
set search_path = pg_catalog
as $$
    select least(5 * 2 ^ least(attempt - 1, 20), 600) * (0.8 + 0.4 * random()) * interval '1 second'
$$;

revoke all on function operations.job_backoff(integer) from public;
grant execute on function operations.job_backoff(integer) to pipeline_worker;
