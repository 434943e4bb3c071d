-- Records what became of a notice that was claimed until `lease`: which targets took it, and why others did not. With
-- `retry_at` it stays due for the others; without, it is done, and the next is the reminder at `remind_at`, or at once
-- the alert again if it has become more severe than `said_severity` meanwhile. False if the claim was no longer ours.
create or replace function operations.settle_notice(
    settled_id uuid,
    lease timestamptz,
    took_it text[],
    problem text,
    retry_at timestamptz,
    remind_at timestamptz,
    said_count integer,
    said_severity text,
    at timestamptz default clock_timestamp()
)
returns boolean
language plpgsql
set search_path = pg_catalog
as $$
declare
    ranks constant text[] := '{info,warning,error,critical}';
begin
    update operations.alerts set
        lease_until = null,
        notice = case
            when retry_at is not null then notice
            when notice = 'recovery' then null
            when array_position(ranks, severity) > array_position(ranks, said_severity) then 'alert'
            else 'reminder'
        end,
        notice_at = case
            when retry_at is not null then retry_at
            when notice = 'recovery' then null
            when array_position(ranks, severity) > array_position(ranks, said_severity) then at
            else remind_at
        end,
        reached = case when retry_at is null then '{}' else reached || took_it end,
        failure_count = case when retry_at is null then 0 else failure_count + 1 end,
        failure = problem,
        noticed_count = case
            when retry_at is null or cardinality(took_it) > 0 then said_count else noticed_count
        end,
        notified_at = case
            when notice <> 'recovery' and cardinality(took_it) > 0 then at else notified_at
        end,
        notified_severity = case
            when notice <> 'recovery' and cardinality(took_it) > 0 then said_severity else notified_severity
        end,
        recovery_notified_at = case
            when notice = 'recovery' and cardinality(took_it) > 0 then at else recovery_notified_at
        end
    where alert_id = settled_id and lease_until = lease;
    return found;
end
$$;

revoke all on function operations.settle_notice(
    uuid, timestamptz, text[], text, timestamptz, timestamptz, integer, text, timestamptz
) from public;
grant execute on function operations.settle_notice(
    uuid, timestamptz, text[], text, timestamptz, timestamptz, integer, text, timestamptz
) to pipeline_worker;
