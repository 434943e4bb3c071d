-- Gives events that failed for good their attempts back: those held back from the lake to the sync, the others to
-- get_pending_events; at most `most`, those received first. Returns how many, and, when `is_dry_run`, does no more.
create or replace function events.retry_failed_events(
    received_from timestamptz default null,
    received_before timestamptz default null,
    of_type text default null,
    reason_part text default null,
    is_dry_run boolean default false,
    most bigint default null
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    found_ids uuid [];
begin
    select coalesce(array_agg(found.event_id), '{}') into found_ids
    from (
        select states.event_id
        from events.event_states as states
        inner join events.event_log as log on states.event_id = log.event_id and states.received_at = log.received_at
        where
            states.processing_status = 'failed'
            and (received_from is null or states.received_at >= received_from)
            and (received_before is null or states.received_at < received_before)
            and (of_type is null or log.event_type = of_type)
            and (reason_part is null or strpos(lower(states.error_message), lower(reason_part)) > 0)
        order by states.received_at, states.event_id
        limit most
    ) as found;
    if not is_dry_run then
        update events.event_states set processing_status = 'pending', retry_count = 0, next_attempt_at = now()
        where event_id = any(found_ids) and processing_status = 'failed';
    end if;
    return cardinality(found_ids);
end
$$;

revoke all on function events.retry_failed_events(timestamptz, timestamptz, text, text, boolean, bigint) from public;
grant execute on function events.retry_failed_events(timestamptz, timestamptz, text, text, boolean, bigint)
to pipeline_worker, pipeline_intake;
