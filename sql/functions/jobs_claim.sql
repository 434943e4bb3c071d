-- Gives `claimer` up to `most` due jobs of `types`, by priority, then due time, then age; each to one claimer only.
-- `limits` holds, for each type, how many may run at once (NULL: any number); claimers of such a type take turns.
create or replace function operations.claim_jobs(
    claimer text, types text[], limits integer[], most integer, lease interval, run_id text default null
)
returns table (attempt_id bigint, job operations.jobs)
language plpgsql
set search_path = pg_catalog
as $$
#variable_conflict use_column
declare
    held_types text[] := '{}'; -- limited ones whose turn it is for us until we commit
    full_types text[] := '{}';
    due record;
    most_at_once integer;
    claimed operations.jobs;
    begun_id bigint;
begin
    while most > 0 loop
        select waiting.job_id, waiting.job_type into due
        from operations.jobs as waiting
        where
            waiting.status in ('QUEUED', 'RETRYING') and waiting.run_at <= clock_timestamp()
            and waiting.job_type = any(types) and waiting.job_type <> all(full_types)
        order by waiting.priority desc, waiting.run_at, waiting.created_at
        limit 1
        for update skip locked;
        exit when not found;
        most_at_once := limits[array_position(types, due.job_type)];
        if most_at_once is not null then
            if due.job_type <> all(held_types) then
                if held_types = '{}' then
                    perform pg_advisory_xact_lock(hashtextextended('operations.jobs ' || due.job_type, 0));
                elsif not pg_try_advisory_xact_lock(hashtextextended('operations.jobs ' || due.job_type, 0)) then
                    full_types := full_types || due.job_type; -- two that hold one type each would wait for ever
                    continue;
                end if;
                held_types := held_types || due.job_type;
            end if;
            if most_at_once <= (
                select count(*) from operations.jobs where job_type = due.job_type and status = 'RUNNING'
            ) then
                full_types := full_types || due.job_type;
                continue;
            end if;
        end if;
        update operations.jobs
        set
            status = 'RUNNING', attempt_count = attempt_count + 1, worker = claimer, dagster_run_id = run_id,
            lease_until = clock_timestamp() + lease, started_at = clock_timestamp(), cancel_requested_at = null
        where job_id = due.job_id
        returning * into claimed;
        insert into operations.job_attempts as begun (job_id, attempt, worker, dagster_run_id, started_at)
        values (claimed.job_id, claimed.attempt_count, claimer, run_id, claimed.started_at)
        returning begun.attempt_id into begun_id;
        return query select begun_id, claimed;
        most := most - 1;
    end loop;
end
$$;

revoke all on function operations.claim_jobs(text, text[], integer[], integer, interval, text) from public;
grant execute on function operations.claim_jobs(text, text[], integer[], integer, interval, text) to pipeline_worker;
