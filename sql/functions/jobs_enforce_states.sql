-- Refuses whatever docs/jobs.md does not draw, whoever asks: jobs begin as QUEUED, go from state to state along its
-- arrows only, and are not deleted before they are finished.
create or replace function operations.enforce_job_states()
returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
    if tg_op = 'INSERT' then
        if new.status <> 'QUEUED' or new.attempt_count <> 0 then
            raise exception 'a job begins as QUEUED, without attempts' using errcode = 'check_violation';
        end if;
        return new;
    end if;
    if tg_op = 'DELETE' then
        if old.status in ('QUEUED', 'RUNNING', 'RETRYING') then
            raise exception 'job % is %: cancel it before it is deleted', old.job_id, old.status
                using errcode = 'check_violation';
        end if;
        return old;
    end if;
    if new.status <> old.status and old.status || '>' || new.status not in (
        'QUEUED>RUNNING', 'QUEUED>CANCELLED',
        'RETRYING>RUNNING', 'RETRYING>CANCELLED',
        'RUNNING>COMPLETED', 'RUNNING>RETRYING', 'RUNNING>FAILED', 'RUNNING>CANCELLED',
        'FAILED>QUEUED', 'CANCELLED>QUEUED'
    ) then
        raise exception 'job %: % to % is no transition of docs/jobs.md', old.job_id, old.status, new.status
            using errcode = 'check_violation';
    end if;
    if new.attempt_count <> old.attempt_count and new.status = old.status then
        raise exception 'job %: attempts are counted by transitions only', old.job_id using errcode = 'check_violation';
    end if;
    if old.status in ('COMPLETED', 'FAILED', 'CANCELLED') and new.status = old.status then
        raise exception 'job % is %: what is finished is not changed', old.job_id, old.status
            using errcode = 'check_violation';
    end if;
    new.updated_at := clock_timestamp();
    return new;
end
$$;

create or replace function operations.refuse_job_change()
returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
    raise exception 'job %: what was asked for, and by whom, is not changed', old.job_id
        using errcode = 'check_violation';
end
$$;

create or replace trigger enforce_job_states
before insert or delete or update on operations.jobs
for each row execute function operations.enforce_job_states();

create or replace trigger refuse_job_change
before update of job_id, job_type, input_data, owner_id, unique_key, market_slug, created_at on operations.jobs
for each row execute function operations.refuse_job_change();
