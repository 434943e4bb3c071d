-- Takes a person out of PostgreSQL: their events in the hot log are deleted, or, to anonymise them, lose everything that
-- names or links: ids, session, address, context, and of event_data all but the numbers and booleans of properties that
-- the schema of the event says are such. What was refused of theirs is deleted either way, and their name leaves the
-- request log. Returns how much of what. The hashes of idempotency keys stay: they name nobody, and a late copy of an
-- erased event must not come back.
create or replace function events.erase_hot_events(erased_user text, erasure_mode text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog
set timezone = 'UTC'
as $$
declare
    hot bigint;
    refused bigint;
    requests bigint;
begin
    if erasure_mode = 'erase' then
        with gone as (
            delete from events.event_log where user_id = erased_user returning event_id, received_at, origin
        ),
        forgotten as (
            delete from events.event_states as states using gone where states.event_id = gone.event_id
        ),
        counted as (
            insert into events.intake_counts as counts (day, intake_id, erased)
            select received_at::date, 'erasure', count(*) from gone where origin <> 'sql' group by 1
            on conflict (day, intake_id) do update set erased = counts.erased + excluded.erased
        )
        select count(*) into hot from gone;
    elsif erasure_mode = 'anonymise' then
        with changed as (
            update events.event_log set
            user_id = null, session_id = null, idempotency_key = null, metadata = '{}', clock_skew_seconds = null,
            address_hash = null, previous_address_hash = null,
            event_data = (
                select coalesce(jsonb_object_agg(member.key, member.value), '{}')
                from jsonb_each(event_data) as member
                inner join events.event_schemas as registered
                    on event_log.event_type = registered.event_type
                    and event_log.schema_version = registered.schema_version
                where
                    jsonb_typeof(member.value) in ('number', 'boolean')
                    and registered.json_schema -> 'properties' -> member.key -> 'type'
                    ?| '{number,integer,boolean}'::text []
            )
            where user_id = erased_user
            returning event_id
        ),
        silenced as (
            update events.event_states as states set error_message = null
            from changed
            where states.event_id = changed.event_id and states.error_message is not null
        )
        select count(*) into hot from changed;
    else
        raise exception 'mode is %, expected erase or anonymise', erasure_mode
        using errcode = 'invalid_parameter_value';
    end if;

    delete from operations.rejects where source = 'events' and events.names_person(payload -> 'event', erased_user);
    get diagnostics refused = row_count;
    update operations.api_requests set caller = 'erased'
    where caller = erased_user and caller not in (select name from operations.app_tokens);
    get diagnostics requests = row_count;
    return jsonb_build_object('hot_events', hot, 'rejects', refused, 'requests', requests);
end
$$;

revoke all on function events.erase_hot_events(text, text) from public;
grant execute on function events.erase_hot_events(text, text) to pipeline_worker;
