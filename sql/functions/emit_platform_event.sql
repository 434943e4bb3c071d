-- Emits one event inside the caller's transaction: it commits or vanishes with it. Returns the event's id (that of the
-- first one for an idempotency key that was seen), or null where the event was refused: then it is in operations.rejects,
-- because a wrong event must not break the business transaction that emits it. Type, category, required fields and time
-- are checked; the JSON Schema is not: PostgreSQL has no validator. An `ip` in the metadata is not kept.
create or replace function events.emit_platform_event(
    event_type text,
    event_category text default null,
    user_id text default null,
    event_data jsonb default '{}',
    session_id text default null,
    metadata jsonb default '{}',
    idempotency_key text default null,
    occurred_at timestamptz default null,
    rule_id text default null
)
returns uuid
language plpgsql
security definer
set search_path = pg_catalog
set timezone = 'UTC'
as $$
declare
    received timestamptz := clock_timestamp();
    new_id uuid := events.time_ordered_id(received);
    known uuid;
    schema events.event_schemas;
    reason text;
begin
    select * into schema
    from events.event_schemas as schemas
    where schemas.event_type = emit_platform_event.event_type and schemas.is_active
    order by schemas.schema_version desc
    limit 1;
    reason := case
        when schema.event_type is null
            then format('type is %L, expected one of the registered types', emit_platform_event.event_type)
        when emit_platform_event.event_category <> schema.event_category
            then format('category is %L, expected %L', emit_platform_event.event_category, schema.event_category)
        when 'userId' = any(schema.required_fields) and emit_platform_event.user_id is null
            then 'userId is missing, expected because its type requires it'
        when 'ruleId' = any(schema.required_fields) and emit_platform_event.rule_id is null
            then 'ruleId is missing, expected because its type requires it'
        when jsonb_typeof(coalesce(emit_platform_event.event_data, '{}')) <> 'object'
            then 'data is no object'
        when jsonb_typeof(coalesce(emit_platform_event.metadata, '{}')) <> 'object'
            then 'metadata is no object'
        when greatest(length(emit_platform_event.user_id), length(emit_platform_event.session_id),
                      length(emit_platform_event.rule_id), length(emit_platform_event.idempotency_key)) > 200
            then 'an id is longer than 200 characters'
        when least(length(emit_platform_event.user_id), length(emit_platform_event.session_id),
                   length(emit_platform_event.rule_id), length(emit_platform_event.idempotency_key)) = 0
            then 'an id is empty'
        when emit_platform_event.occurred_at < '2000-01-01Z' or emit_platform_event.occurred_at = 'infinity'
            then format('ts is %s, expected an instant since 2000', emit_platform_event.occurred_at)
    end;
    if reason is not null then
        insert into operations.rejects (source, reason, payload, payload_digest)
        select
            'events',
            reason,
            refused.payload,
            encode(sha256(convert_to((refused.payload -> 'event')::text, 'UTF8')), 'hex')
        from (
            select jsonb_build_object(
                'event', jsonb_strip_nulls(jsonb_build_object(
                    'type', emit_platform_event.event_type,
                    'category', emit_platform_event.event_category,
                    'userId', emit_platform_event.user_id,
                    'sessionId', emit_platform_event.session_id,
                    'ruleId', emit_platform_event.rule_id,
                    'ts', emit_platform_event.occurred_at,
                    'idempotencyKey', emit_platform_event.idempotency_key
                )) || jsonb_build_object(
                    'data', emit_platform_event.event_data,
                    'context', case
                        when jsonb_typeof(emit_platform_event.metadata) = 'object'
                            then emit_platform_event.metadata - 'ip'
                        else emit_platform_event.metadata
                    end
                ),
                'received', jsonb_build_object('receivedAt', received, 'caller', 'sql')
            ) as payload
        ) as refused
        on conflict (source, payload_digest) do update set
        last_seen_at = now(), seen_count = rejects.seen_count + 1, reason = excluded.reason,
        replayed_at = null, replayed_as = null;
        return null;
    end if;
    if emit_platform_event.idempotency_key is not null then
        insert into events.event_keys (key_hash, event_id)
        values (events.key_hash(emit_platform_event.idempotency_key), new_id)
        on conflict (key_hash) do nothing;
        if not found then
            select keys.event_id into known
            from events.event_keys as keys
            where keys.key_hash = events.key_hash(emit_platform_event.idempotency_key);
            return known;
        end if;
    end if;
    insert into events.event_log (
        event_id, event_type, event_category, schema_version, user_id, session_id, rule_id, event_data, metadata,
        occurred_at, received_at, idempotency_key, caller, origin
    ) values (
        new_id, schema.event_type, schema.event_category, schema.schema_version, emit_platform_event.user_id,
        emit_platform_event.session_id, emit_platform_event.rule_id, coalesce(emit_platform_event.event_data, '{}'),
        coalesce(emit_platform_event.metadata, '{}') - 'ip',
        case
            when emit_platform_event.occurred_at < received + interval '1 day' then emit_platform_event.occurred_at
            else received
        end,
        received, emit_platform_event.idempotency_key, 'sql', 'sql'
    );
    return new_id;
end
$$;

revoke all on function events.emit_platform_event(text, text, text, jsonb, text, jsonb, text, timestamptz, text) from public;
grant execute on function events.emit_platform_event(text, text, text, jsonb, text, jsonb, text, timestamptz, text)
to pipeline_worker, pipeline_intake;
