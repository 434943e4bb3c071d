-- Settles an event that get_pending_events gave out. With an error it is given out again after two, then four minutes;
-- after the third failure it stays `failed`, with the reason. Returns what it is now; null for an event that is unknown,
-- settled already, or held back from the lake, which the sync settles itself.
create or replace function events.mark_event_processed(
    event_id uuid, success boolean default true, error_message text default null
)
returns text
language plpgsql
set search_path = pg_catalog
as $$
declare
    settled text;
begin
    insert into events.event_states as states (
        event_id, received_at, processing_status, retry_count, error_message, next_attempt_at, processed_at
    )
    select
        log.event_id,
        log.received_at,
        case when success then 'processed' else 'pending' end,
        case when success then 0 else 1 end,
        mark_event_processed.error_message,
        case when success then null else now() + interval '2 minutes' end,
        case when success then now() end
    from events.event_log as log
    where log.event_id = mark_event_processed.event_id
    on conflict on constraint event_states_pkey do update set
    processing_status = case
        when success then 'processed' when states.retry_count >= 2 then 'failed' else 'pending'
    end,
    retry_count = states.retry_count + case when success then 0 else 1 end,
    error_message = mark_event_processed.error_message,
    next_attempt_at = case
        when success or states.retry_count >= 2 then null
        else now() + interval '2 minutes' * power(2, states.retry_count)
    end,
    processed_at = case when success then now() end
    where states.processing_status is distinct from 'processed' and states.processing_status is distinct from 'failed'
    and not states.is_held
    returning states.processing_status into settled;
    return settled;
end
$$;

revoke all on function events.mark_event_processed(uuid, boolean, text) from public;
grant execute on function events.mark_event_processed(uuid, boolean, text) to pipeline_worker;
