-- Adds a job. While one of the same owner, type and unique key is not finished, that one is returned instead.
create or replace function operations.enqueue_job(
    job_type text,
    input_data jsonb,
    owner_id text,
    market_slug text default null,
    unique_key text default null,
    priority integer default 0,
    run_at timestamptz default null,
    max_attempts integer default 3,
    request_id text default null
)
returns table (job_id uuid, is_new boolean)
language plpgsql
set search_path = pg_catalog
as $$
#variable_conflict use_column
declare
    known uuid;
begin
    if max_attempts not between 1 and 25 then
        raise exception 'max_attempts is %: expected 1 to 25', max_attempts using errcode = 'check_violation';
    end if;
    loop
        insert into operations.jobs as job (
            job_type, input_data, owner_id, market_slug, unique_key, priority, run_at, max_attempts, request_id
        )
        values (
            enqueue_job.job_type, enqueue_job.input_data, enqueue_job.owner_id, enqueue_job.market_slug,
            enqueue_job.unique_key, enqueue_job.priority, coalesce(enqueue_job.run_at, clock_timestamp()),
            enqueue_job.max_attempts, enqueue_job.request_id
        )
        on conflict (owner_id, job_type, unique_key)
        where status in ('QUEUED', 'RUNNING', 'RETRYING') and unique_key is not null
        do nothing
        returning job.job_id into known;
        if known is not null then
            return query select known, true;
            return;
        end if;
        select job.job_id into known
        from operations.jobs as job
        where
            job.owner_id = enqueue_job.owner_id and job.job_type = enqueue_job.job_type
            and job.unique_key = enqueue_job.unique_key and job.status in ('QUEUED', 'RUNNING', 'RETRYING');
        if known is not null then
            return query select known, false;
            return;
        end if;
        -- it was finished between the two statements: now there is room for a new one
    end loop;
end
$$;

revoke all on function operations.enqueue_job(
    text, jsonb, text, text, text, integer, timestamptz, integer, text
) from public;
grant execute on function operations.enqueue_job(
    text, jsonb, text, text, text, integer, timestamptz, integer, text
) to pipeline_worker, pipeline_intake;
