-- Ends the attempt `ended`; the job's status then, or NULL if the attempt was over already, which changes nothing.
-- `ending` is completed, failed (then `kind` is transient or permanent), postponed, cancelled or lost. What failed, was
-- lost or postponed while somebody asked to cancel it is cancelled. A postponed job does not spend an attempt, the first
-- ten times.
create or replace function operations.settle_job(
    ended bigint,
    ending text,
    output jsonb default null,
    kind text default null,
    message text default null,
    wait interval default null,
    time_ms double precision default null
)
returns text
language plpgsql
set search_path = pg_catalog
as $$
#variable_conflict use_column
declare
    job operations.jobs;
    next_status text;
    is_free boolean := false;
    told text := ending;
begin
    if ending not in ('completed', 'failed', 'postponed', 'cancelled', 'lost') then
        raise exception 'no ending of an attempt: %', ending using errcode = 'check_violation';
    end if;
    select jobs.* into job
    from operations.jobs
    where jobs.job_id = (select tried.job_id from operations.job_attempts as tried where tried.attempt_id = ended)
    for update;
    -- only now: who held the lock may have ended the attempt
    perform from operations.job_attempts as tried where tried.attempt_id = ended and tried.finished_at is null;
    if job.job_id is null or not found then
        return null;
    end if;
    if wait is not null then
        wait := greatest(least(wait, interval '1 hour'), interval '1 second');
    end if;
    if ending = 'completed' then
        next_status := 'COMPLETED';
    elsif ending = 'cancelled' or job.cancel_requested_at is not null then
        next_status := 'CANCELLED';
        told := case ending when 'lost' then 'lost' else 'cancelled' end;
    elsif ending = 'postponed' and job.postponed_count < 10 then
        next_status := 'RETRYING';
        is_free := true;
        wait := coalesce(wait, interval '30 seconds');
    elsif kind = 'permanent' or job.attempt_count >= job.max_attempts then
        next_status := 'FAILED';
        told := case ending when 'lost' then 'lost' else 'failed' end;
    else
        next_status := 'RETRYING';
        told := case ending when 'lost' then 'lost' else 'retrying' end;
    end if;
    update operations.job_attempts as tried
    set finished_at = clock_timestamp(), outcome = told, error_kind = kind, error_message = message
    where tried.attempt_id = ended;
    update operations.jobs
    set
        status = next_status,
        attempt_count = attempt_count - is_free::integer,
        postponed_count = postponed_count + is_free::integer,
        lease_until = null,
        run_at = case
            when next_status = 'RETRYING'
                then clock_timestamp() + coalesce(wait, operations.job_backoff(job.attempt_count))
            else run_at
        end,
        output_data = case next_status when 'COMPLETED' then coalesce(output, '{}') end,
        error_kind = case when next_status <> 'COMPLETED' then kind end,
        error_message = case when next_status <> 'COMPLETED' then coalesce(message, 'no reason given') end,
        processing_time_ms = coalesce(time_ms, processing_time_ms),
        finished_at = case when next_status <> 'RETRYING' then clock_timestamp() end
    where job_id = job.job_id;
    return next_status;
end
$$;

revoke all on function operations.settle_job(
    bigint, text, jsonb, text, text, interval, double precision
) from public;
grant execute on function operations.settle_job(
    bigint, text, jsonb, text, text, interval, double precision
) to pipeline_worker;
