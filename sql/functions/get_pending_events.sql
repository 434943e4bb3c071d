-- Claims up to `batch_size` events for a caller who wants them one by one, oldest first, none twice: another caller skips
-- what this one has locked. A claim that is not settled with mark_event_processed within five minutes is given out again.
-- The bulk path to the lake does not use this, and the events that it holds back are its own to try again.
create or replace function events.get_pending_events(batch_size integer default 100)
returns setof events.platform_events
language plpgsql
set search_path = pg_catalog
as $$
begin
    return query
    with candidates as materialized (
        select log.event_id, log.received_at
        from events.event_log as log
        left join events.event_states as states on log.event_id = states.event_id
        where
            (
                states.processing_status is null
                and log.transaction_id >= coalesce(
                    (
                        select max(synced.next_transaction_id)
                        from events.warehouse_sync_status as synced
                        where synced.warehouse_type = 'delta' and synced.status = 'committed'
                    ), '0'::xid8
                )
                or states.processing_status in ('pending', 'processing') and states.next_attempt_at <= now()
                and not states.is_held
            )
        order by log.received_at, log.event_id
        limit batch_size
        for update of log skip locked
    ),
    claimed as (
        insert into events.event_states as states (event_id, received_at, processing_status, next_attempt_at)
        select candidates.event_id, candidates.received_at, 'processing', now() + interval '5 minutes'
        from candidates
        on conflict (event_id) do update set
        processing_status = 'processing', next_attempt_at = now() + interval '5 minutes'
        where states.processing_status is null or states.next_attempt_at <= now()
        returning states.event_id
    )
    select platform_events.*
    from events.platform_events
    inner join claimed on platform_events.id = claimed.event_id
    order by platform_events.created_at, platform_events.id;
end
$$;

revoke all on function events.get_pending_events(integer) from public;
grant execute on function events.get_pending_events(integer) to pipeline_worker;
