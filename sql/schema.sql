-- Generated from sql/migrations and sql/functions: python -m ingestion_pipeline_tests.sql.schema

CREATE SCHEMA events;

ALTER SCHEMA events OWNER TO postgres;

CREATE SCHEMA market;

ALTER SCHEMA market OWNER TO postgres;

CREATE SCHEMA operations;

ALTER SCHEMA operations OWNER TO postgres;

CREATE FUNCTION events.added_counts(counts jsonb, more jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select coalesce(jsonb_object_agg(summed.name, summed.total), '{}')
    from (
        select both_of_them.key as name, sum(both_of_them.value::bigint) as total
        from (select * from jsonb_each_text(counts) union all select * from jsonb_each_text(more)) as both_of_them
        group by both_of_them.key
    ) as summed
$$;

ALTER FUNCTION events.added_counts(counts jsonb, more jsonb) OWNER TO postgres;

CREATE FUNCTION events.aggregate_events_hourly(target_hour timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $_$
declare
    first_instant constant timestamptz := date_trunc('hour', coalesce(target_hour, now() - interval '1 hour'));
    next_instant constant timestamptz := first_instant + interval '1 hour';
    hot_since constant timestamptz := (
        select min(to_date(right(leaf.relname, 8), 'YYYYMMDD'))
        from pg_inherits
        inner join pg_class as leaf on pg_inherits.inhrelid = leaf.oid
        where pg_inherits.inhparent = 'events.event_log'::regclass and leaf.relname ~ '^event_log_\d{8}$'
    );
    stored integer;
begin
    if first_instant < hot_since then
        raise exception 'the hour % is older than the hot log, which begins on %', first_instant, hot_since::date
        using hint = 'Materialize the day of events/event_aggregations_hourly: it reads the lake.';
    end if;
    -- the lock under which the asset replaces its partitions
    perform pg_advisory_xact_lock(hashtextextended('events.event_aggregations_hourly', 0));
    delete from events.event_aggregations_hourly where bucket_start = first_instant;
    insert into events.event_aggregations_hourly (
        bucket_start, event_type, event_category, event_count, uncounted_count, unique_users, unique_sessions,
        first_event_at, last_event_at, properties
    )
    with hour_events as materialized (
        select
            log.event_type,
            log.event_category,
            log.user_id,
            log.session_id,
            log.event_data,
            log."timestamp" as occurred_at,
            log.uncounted_reason is null as is_counted
        from events.platform_events as log
        where
            log."timestamp" >= first_instant and log."timestamp" < next_instant
            -- no event is received more than a day before it happened: older partitions are not read
            and log.created_at >= first_instant - interval '1 day'
    ),
    numeric_properties as (
        select distinct schemas.event_type, property.key as name
        from events.event_schemas as schemas
        cross join lateral jsonb_each(
            case when jsonb_typeof(schemas.json_schema -> 'properties') = 'object' then schemas.json_schema -> 'properties' end
        ) as property
        where jsonb_typeof(property.value) = 'object' and property.value -> 'type' ?| array['number', 'integer']
    ),
    property_values as (
        select
            hour_events.event_type,
            hour_events.event_category,
            numeric_properties.name,
            case when abs(number.value) >= 1e-300 then number.value else 0 end as value -- smaller ones are no double
        from hour_events
        inner join numeric_properties on hour_events.event_type = numeric_properties.event_type
        cross join lateral (
            select (hour_events.event_data ->> numeric_properties.name)::numeric as value
        ) as number
        where hour_events.is_counted and jsonb_typeof(hour_events.event_data -> numeric_properties.name) = 'number'
    ),
    property_statistics as (
        select
            event_type,
            event_category,
            name,
            jsonb_build_object(
                'count', count(*),
                'sum', sum(round(value, 9))::double precision,
                'min', min(value)::double precision,
                'max', max(value)::double precision,
                'p50', percentile_cont(0.50) within group (order by value::double precision),
                'p95', percentile_cont(0.95) within group (order by value::double precision)
            ) as figures
        from property_values
        where abs(value) <= 1e18
        group by event_type, event_category, name
    ),
    properties as (
        select event_type, event_category, jsonb_object_agg(name, figures) as figures
        from property_statistics
        group by event_type, event_category
    )
    select
        first_instant,
        hour_events.event_type,
        hour_events.event_category,
        count(*) filter (where hour_events.is_counted),
        count(*) filter (where not hour_events.is_counted),
        count(distinct hour_events.user_id) filter (where hour_events.is_counted),
        count(distinct hour_events.session_id) filter (where hour_events.is_counted),
        min(hour_events.occurred_at),
        max(hour_events.occurred_at),
        coalesce(properties.figures, '{}')
    from hour_events
    left join properties
        on hour_events.event_type = properties.event_type and hour_events.event_category = properties.event_category
    group by hour_events.event_type, hour_events.event_category, properties.figures;
    get diagnostics stored = row_count;
    return stored;
end
$_$;

ALTER FUNCTION events.aggregate_events_hourly(target_hour timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION events.apply_data_retention_policy(hot_days integer DEFAULT 30, deduplication_days integer DEFAULT 7) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '0'
    AS $_$
declare
    today constant date := now()::date;
    shortest constant interval := (select min(kept_for) from events.retention_classes);
    longest constant interval := (select max(kept_for) from events.retention_classes);
    watermark constant xid8 := coalesce(
        (
            select max(next_transaction_id) from events.warehouse_sync_status
            where warehouse_type = 'delta' and status = 'committed'
        ), '0'
    );
    unsettled constant text [] := '{pending,processing,failed}';
    leaf record;
    name text;
    sizes jsonb := '{}';
    dropped text [] := '{}';
    postponed text [] := '{}';
    is_whole boolean;
    amount bigint;
    expired bigint;
    cooled bigint := 0;
    removed jsonb;
begin
    if hot_days < 2 then
        raise exception 'hot_days is %, expected 2 or more', hot_days using errcode = 'invalid_parameter_value';
    end if;

    with gone as (
        delete from events.event_log as log
        where
            log.occurred_at < date_trunc('day', now() - shortest)
            and log.transaction_id < watermark
            and log.occurred_at < date_trunc('day', now() - coalesce(
                (select kept_for from events.event_retention as kept where kept.event_type = log.event_type), longest
            ))
            and not exists (
                select from events.event_states as states
                where states.event_id = log.event_id and states.is_held and states.processing_status = 'pending'
            )
        returning log.event_id, log.received_at, log.origin
    ),
    forgotten as (
        delete from events.event_states as states using gone where states.event_id = gone.event_id
    ),
    counted as (
        insert into events.intake_counts as counts (day, intake_id, erased)
        select received_at::date, 'retention', count(*) from gone where origin <> 'sql' group by 1
        on conflict (day, intake_id) do update set erased = counts.erased + excluded.erased
    )
    select count(*) into expired from gone;
    removed := jsonb_build_object('expired_events', expired);

    for leaf in
        select found.name, found.day
        from (
            select relname as name, to_date(right(relname, 8), 'YYYYMMDD') as day
            from pg_inherits inner join pg_class on pg_class.oid = pg_inherits.inhrelid
            where inhparent = 'events.event_log'::regclass and relname ~ '^event_log_\d{8}$'
        ) as found
        where found.day < today - hot_days
        order by found.day
    loop
        execute format(
            'select not exists (select from events.%1$I where transaction_id >= $1) and not exists ('
            'select from events.%1$I as log inner join events.event_states as states on log.event_id = states.event_id '
            'where states.received_at >= $2 and states.received_at < $3 and states.processing_status = any($4))',
            leaf.name
        ) into is_whole using watermark, leaf.day, leaf.day + 1, unsettled;
        if is_whole then
            execute format('select count(*) from events.%I', leaf.name) into amount;
            sizes := sizes || jsonb_build_object(leaf.name, amount);
        else
            execute format(
                'delete from events.%I as log where transaction_id < $1 and not exists (select from '
                'events.event_states as states where states.event_id = log.event_id '
                'and states.processing_status = any($2))', leaf.name
            ) using watermark, unsettled;
            get diagnostics amount = row_count;
            cooled := cooled + amount;
            delete from events.event_states as states
            where states.received_at >= leaf.day and states.received_at < leaf.day + 1
            and (states.processing_status is null or states.processing_status <> all(unsettled));
        end if;
    end loop;

    removed := removed || jsonb_build_object(
        'idempotency_keys', events.prune('idempotency_keys', deduplication_days),
        'rejects', events.prune('rejects', deduplication_days),
        'api_requests', events.prune('api_requests', deduplication_days)
    );

    delete from events.counted_views where counted_at < now() - interval '2 days';
    get diagnostics amount = row_count;
    removed := removed || jsonb_build_object('counted_views', amount);

    delete from events.address_keys where day < today - 1;
    get diagnostics amount = row_count;
    removed := removed || jsonb_build_object('address_keys', amount);

    removed := removed || jsonb_build_object('metrics', events.cleanup_expired_metrics());

    -- last, because from the first one on the intake waits until this transaction ends
    for name in select jsonb_object_keys(sizes) loop
        begin
            perform set_config('lock_timeout', '500ms', true);
            delete from events.event_states as states
            where states.received_at >= to_date(right(name, 8), 'YYYYMMDD')
            and states.received_at < to_date(right(name, 8), 'YYYYMMDD') + 1;
            execute format('drop table events.%I', name);
            cooled := cooled + (sizes ->> name)::bigint;
            dropped := dropped || name;
        exception
            when lock_not_available then
                postponed := postponed || name;
        end;
    end loop;
    return removed || jsonb_build_object(
        'cooled_events', cooled, 'dropped_partitions', dropped, 'postponed_partitions', postponed
    );
end
$_$;

ALTER FUNCTION events.apply_data_retention_policy(hot_days integer, deduplication_days integer) OWNER TO postgres;

CREATE FUNCTION events.cleanup_expired_metrics() RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    removed integer;
begin
    delete from events.platform_metrics_realtime where expires_at <= now();
    get diagnostics removed = row_count;
    return removed;
end
$$;

ALTER FUNCTION events.cleanup_expired_metrics() OWNER TO postgres;

CREATE FUNCTION events.emit_platform_event(event_type text, event_category text DEFAULT NULL::text, user_id text DEFAULT NULL::text, event_data jsonb DEFAULT '{}'::jsonb, session_id text DEFAULT NULL::text, metadata jsonb DEFAULT '{}'::jsonb, idempotency_key text DEFAULT NULL::text, occurred_at timestamp with time zone DEFAULT NULL::timestamp with time zone, rule_id text DEFAULT NULL::text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $$
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

ALTER FUNCTION events.emit_platform_event(event_type text, event_category text, user_id text, event_data jsonb, session_id text, metadata jsonb, idempotency_key text, occurred_at timestamp with time zone, rule_id text) OWNER TO postgres;

CREATE FUNCTION events.emit_project_created() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    project jsonb := to_jsonb(new);
begin
    perform events.emit_platform_event(
        event_type => 'project.created',
        event_category => 'transaction',
        user_id => coalesce(project ->> 'client_id', project ->> 'owner_id', project ->> 'user_id', project ->> 'created_by'),
        event_data => jsonb_strip_nulls(jsonb_build_object(
            'project_id', project ->> 'id',
            'title', project ->> 'title',
            'budget', project -> 'budget',
            'currency', project ->> 'currency'
        )),
        idempotency_key => 'project.created:' || (project ->> 'id')
    );
    return null;
end
$$;

ALTER FUNCTION events.emit_project_created() OWNER TO postgres;

CREATE FUNCTION events.emit_review_posted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    review jsonb := to_jsonb(new);
begin
    perform events.emit_platform_event(
        event_type => 'review.posted',
        event_category => 'content',
        user_id => coalesce(review ->> 'reviewer_id', review ->> 'author_id', review ->> 'user_id', review ->> 'created_by'),
        event_data => jsonb_strip_nulls(jsonb_build_object(
            'review_id', review ->> 'id',
            'project_id', review ->> 'project_id',
            'rating', review -> 'rating'
        )),
        idempotency_key => 'review.posted:' || (review ->> 'id')
    );
    return null;
end
$$;

ALTER FUNCTION events.emit_review_posted() OWNER TO postgres;

CREATE FUNCTION events.ensure_address_key(wanted_day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
begin
    insert into events.address_keys (day, key)
    values (wanted_day, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    on conflict (day) do nothing;
    delete from events.address_keys where day < wanted_day - 1 and day < (now() at time zone 'UTC')::date - 1;
end
$$;

ALTER FUNCTION events.ensure_address_key(wanted_day date) OWNER TO postgres;

CREATE FUNCTION events.ensure_event_partitions(days_ahead integer DEFAULT 7) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '2s'
    AS $$
declare
    first_day date := (now() - interval '1 day')::date;
    wanted date;
    leaf text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('events.event_log', 2));
    for wanted in
        select generate_series(first_day, (now() + make_interval(days => least(days_ahead, 60)))::date, interval '1 day')::date
        union
        select distinct received_at::date from events.event_log_default
        order by 1
    loop
        leaf := 'event_log_' || to_char(wanted, 'YYYYMMDD');
        continue when to_regclass('events.' || leaf) is not null;
        lock table events.event_log_default in access exclusive mode;
        execute format('create table events.%I (like events.event_log including defaults including constraints)', leaf);
        execute format(
            'with moved as (delete from events.event_log_default where received_at >= %L and received_at < %L returning *) '
            'insert into events.%I select * from moved',
            wanted, wanted + 1, leaf
        );
        execute format(
            'alter table events.event_log attach partition events.%I for values from (%L) to (%L)',
            leaf, wanted, wanted + 1
        );
        execute format('grant insert on events.%I to pipeline_intake', leaf);
        execute format('revoke select, update, delete on events.%I from pipeline_reader, pipeline_intake', leaf);
        made := made + 1;
    end loop;
    return made;
end
$$;

ALTER FUNCTION events.ensure_event_partitions(days_ahead integer) OWNER TO postgres;

CREATE FUNCTION events.erase_hot_events(erased_user text, erasure_mode text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $$
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

ALTER FUNCTION events.erase_hot_events(erased_user text, erasure_mode text) OWNER TO postgres;

CREATE TABLE events.event_log (
    event_id uuid NOT NULL,
    transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
    event_type text NOT NULL,
    event_category text NOT NULL,
    schema_version integer NOT NULL,
    user_id text,
    session_id text,
    rule_id text,
    event_data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    clock_skew_seconds double precision,
    idempotency_key text,
    caller text NOT NULL,
    origin text NOT NULL,
    country text,
    address_hash text,
    previous_address_hash text,
    CONSTRAINT event_log_event_category_check CHECK ((event_category = ANY (ARRAY['transaction'::text, 'interaction'::text, 'user_activity'::text, 'content'::text]))),
    CONSTRAINT event_log_event_type_check CHECK (((event_type <> ''::text) AND (length(event_type) <= 200))),
    CONSTRAINT event_log_occurred_at_check CHECK (((occurred_at >= '2000-01-01 00:00:00+00'::timestamp with time zone) AND (occurred_at < '2100-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT event_log_origin_check CHECK ((origin = ANY (ARRAY['http'::text, 'sql'::text, 'replay'::text]))),
    CONSTRAINT event_log_rule_id_check CHECK (((length(rule_id) >= 1) AND (length(rule_id) <= 200))),
    CONSTRAINT event_log_session_id_check CHECK (((length(session_id) >= 1) AND (length(session_id) <= 200))),
    CONSTRAINT event_log_user_id_check CHECK (((length(user_id) >= 1) AND (length(user_id) <= 200)))
)
PARTITION BY RANGE (received_at);

ALTER TABLE ONLY events.event_log FORCE ROW LEVEL SECURITY;

ALTER TABLE events.event_log OWNER TO postgres;

COMMENT ON TABLE events.event_log IS 'One row per accepted product event, by the UTC day it was received. Rows are inserted once and never updated: what has become of one is in event_states and, for the rest, follows from the watermark in warehouse_sync_status.';

CREATE TABLE events.event_states (
    event_id uuid NOT NULL,
    received_at timestamp with time zone NOT NULL,
    processing_status text,
    retry_count integer DEFAULT 0 NOT NULL,
    error_message text,
    next_attempt_at timestamp with time zone,
    processed_at timestamp with time zone,
    is_held boolean DEFAULT false NOT NULL,
    uncounted_reason text,
    CONSTRAINT event_states_processing_status_check CHECK ((processing_status = ANY (ARRAY['pending'::text, 'processing'::text, 'processed'::text, 'failed'::text]))),
    CONSTRAINT event_states_retry_count_check CHECK ((retry_count >= 0))
);

ALTER TABLE events.event_states OWNER TO postgres;

COMMENT ON TABLE events.event_states IS 'One row per event of which more is to be said than the watermark says: claimed or settled by a caller, held back from the lake (is_held; failed after the last attempt), or not to be counted.';

CREATE TABLE events.warehouse_sync_status (
    warehouse_type text NOT NULL,
    batch_number bigint NOT NULL,
    status text NOT NULL,
    first_transaction_id xid8,
    next_transaction_id xid8,
    retried_event_ids uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    events_synced bigint DEFAULT 0 NOT NULL,
    bytes_synced bigint DEFAULT 0 NOT NULL,
    sync_duration_ms bigint DEFAULT 0 NOT NULL,
    lag_seconds double precision,
    first_event_at timestamp with time zone,
    last_event_at timestamp with time zone,
    days date[] DEFAULT '{}'::date[] NOT NULL,
    target text DEFAULT ''::text NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    error_message text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    committed_at timestamp with time zone,
    CONSTRAINT warehouse_sync_status_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT warehouse_sync_status_batch_number_check CHECK ((batch_number >= 1)),
    CONSTRAINT warehouse_sync_status_bytes_synced_check CHECK ((bytes_synced >= 0)),
    CONSTRAINT warehouse_sync_status_check CHECK (((status = 'committed'::text) = (committed_at IS NOT NULL))),
    CONSTRAINT warehouse_sync_status_events_synced_check CHECK ((events_synced >= 0)),
    CONSTRAINT warehouse_sync_status_status_check CHECK ((status = ANY (ARRAY['planned'::text, 'written'::text, 'committed'::text]))),
    CONSTRAINT warehouse_sync_status_sync_duration_ms_check CHECK ((sync_duration_ms >= 0)),
    CONSTRAINT warehouse_sync_status_warehouse_type_check CHECK ((warehouse_type = ANY (ARRAY['delta'::text, 'bigquery'::text, 'redshift'::text])))
);

ALTER TABLE events.warehouse_sync_status OWNER TO postgres;

COMMENT ON TABLE events.warehouse_sync_status IS 'The write-ahead ledger of warehouses, one row per batch and warehouse: planned (what belongs to it), written (it is in the warehouse), committed (everything that follows from it is recorded).';

CREATE VIEW events.platform_events WITH (security_invoker='true') AS
 SELECT log.event_id AS id,
    log.event_type,
    log.event_category,
    log.schema_version,
    log.user_id,
    log.session_id,
    log.rule_id,
    log.event_data,
    log.metadata,
    log.occurred_at AS "timestamp",
    log.received_at AS created_at,
    log.idempotency_key,
    log.caller,
    log.country,
    COALESCE(states.processing_status,
        CASE
            WHEN (log.transaction_id < watermark.next_transaction_id) THEN 'processed'::text
            ELSE 'pending'::text
        END) AS processing_status,
    COALESCE(states.retry_count, 0) AS retry_count,
    states.error_message,
    states.processed_at,
    states.uncounted_reason
   FROM ((events.event_log log
     LEFT JOIN events.event_states states ON ((log.event_id = states.event_id)))
     CROSS JOIN LATERAL ( SELECT COALESCE(max(synced.next_transaction_id), '0'::xid8) AS next_transaction_id
           FROM events.warehouse_sync_status synced
          WHERE ((synced.warehouse_type = 'delta'::text) AND (synced.status = 'committed'::text))) watermark);

ALTER VIEW events.platform_events OWNER TO postgres;

COMMENT ON VIEW events.platform_events IS 'The event log of the seed: every hot event with what has become of it. Pending events are those above the watermark of the lake.';

CREATE FUNCTION events.get_pending_events(batch_size integer DEFAULT 100) RETURNS SETOF events.platform_events
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION events.get_pending_events(batch_size integer) OWNER TO postgres;

CREATE FUNCTION events.key_hash(idempotency_key text) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select encode(substring(sha256(convert_to(idempotency_key, 'UTF8')) from 1 for 16), 'hex')::uuid
$$;

ALTER FUNCTION events.key_hash(idempotency_key text) OWNER TO postgres;

CREATE FUNCTION events.mark_event_processed(event_id uuid, success boolean DEFAULT true, error_message text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION events.mark_event_processed(event_id uuid, success boolean, error_message text) OWNER TO postgres;

CREATE FUNCTION events.names_person(event jsonb, user_id text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $_$
    select coalesce(
        jsonb_path_exists(event, '$.** ? (@ == $id)', jsonb_build_object('id', names_person.user_id))
        or exists (
            select from jsonb_path_query(
                event, '$.** ? (@.type() == "object").keyvalue() ? (@.key like_regex "(id|user)$" flag "i").value'
            ) as member
            where jsonb_typeof(member) = 'number' and member #>> '{}' = names_person.user_id
        )
        or strpos(event ->> 'unreadable', to_json(names_person.user_id)::text) > 0,
        false
    )
$_$;

ALTER FUNCTION events.names_person(event jsonb, user_id text) OWNER TO postgres;

CREATE FUNCTION events.prune(kind text, deduplication_days integer, from_block bigint DEFAULT 0, before_block bigint DEFAULT '4294967295'::bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    from_row constant tid := format('(%s,0)', from_block);
    before_row constant tid := format('(%s,0)', before_block);
    shortest constant interval := (select min(kept_for) from events.retention_classes);
    -- once: as a condition it would be made anew for every row
    oldest_key constant uuid := events.time_ordered_id(now() - make_interval(days => greatest(deduplication_days, 7)));
    amount bigint;
begin
    case kind
        when 'idempotency_keys' then
            delete from events.event_keys
            where ctid >= from_row and ctid < before_row and event_id < oldest_key;
        when 'rejects' then
            delete from operations.rejects
            where ctid >= from_row and ctid < before_row and source = 'events' and last_seen_at < now() - coalesce(
                (
                    select kept_for from events.event_retention as kept
                    where kept.event_type = payload -> 'event' ->> 'type'
                ), shortest
            );
        when 'api_requests' then
            delete from operations.api_requests
            where ctid >= from_row and ctid < before_row and occurred_at < now() - interval '30 days';
        else
            raise exception 'kind is %, expected idempotency_keys, rejects or api_requests', kind
            using errcode = 'invalid_parameter_value';
    end case;
    get diagnostics amount = row_count;
    return amount;
end
$$;

ALTER FUNCTION events.prune(kind text, deduplication_days integer, from_block bigint, before_block bigint) OWNER TO postgres;

CREATE FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text DEFAULT NULL::text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    subject constant text := encode(sha256(convert_to(erased_user, 'UTF8')), 'hex');
    found_id uuid;
    more jsonb;
begin
    insert into events.erasure_requests as requests (user_id, user_digest, mode, requested_by, request_id)
    values (erased_user, subject, erasure_mode, actor, request_erasure.request_id)
    on conflict (user_id, mode) where status = 'requested' do update set
        request_id = excluded.request_id, next_attempt_at = clock_timestamp()
    returning erasure_id into found_id;
    insert into operations.audit_log (actor, action, subject_digest, request_id, details)
    values (
        actor, erasure_mode || ' requested', subject, request_erasure.request_id,
        jsonb_build_object('erasure_id', found_id)
    );
    more := events.erase_hot_events(erased_user, erasure_mode);
    update events.erasure_requests set removed = events.added_counts(removed, more) where erasure_id = found_id;
    return found_id;
end
$$;

ALTER FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text) OWNER TO postgres;

CREATE FUNCTION events.retry_failed_events(received_from timestamp with time zone DEFAULT NULL::timestamp with time zone, received_before timestamp with time zone DEFAULT NULL::timestamp with time zone, of_type text DEFAULT NULL::text, reason_part text DEFAULT NULL::text, is_dry_run boolean DEFAULT false, most bigint DEFAULT NULL::bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION events.retry_failed_events(received_from timestamp with time zone, received_before timestamp with time zone, of_type text, reason_part text, is_dry_run boolean, most bigint) OWNER TO postgres;

CREATE FUNCTION events.time_ordered_id(instant timestamp with time zone DEFAULT clock_timestamp()) RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select encode(
        set_byte(
            overlay(
                uuid_send(gen_random_uuid())
                placing substring(int8send(floor(extract(epoch from instant) * 1000)::bigint) from 3)
                from 1 for 6
            ),
            6,
            (get_byte(uuid_send(gen_random_uuid()), 6) & 15) | 112
        ),
        'hex'
    )::uuid
$$;

ALTER FUNCTION events.time_ordered_id(instant timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION events.update_realtime_metric(metric_name text, metric_value double precision, dimensions jsonb DEFAULT '{}'::jsonb, ttl interval DEFAULT '01:00:00'::interval, is_increment boolean DEFAULT false) RETURNS double precision
    LANGUAGE sql
    SET search_path TO 'pg_catalog'
    AS $$
    insert into events.platform_metrics_realtime as metrics (metric_name, dimensions, metric_value, expires_at)
    values (
        update_realtime_metric.metric_name,
        update_realtime_metric.dimensions,
        update_realtime_metric.metric_value,
        now() + ttl
    )
    on conflict (metric_name, dimensions) do update set
    metric_value = excluded.metric_value
    + case when is_increment and metrics.expires_at > now() then metrics.metric_value else 0 end,
    updated_at = now(),
    expires_at = excluded.expires_at
    returning metrics.metric_value
$$;

ALTER FUNCTION events.update_realtime_metric(metric_name text, metric_value double precision, dimensions jsonb, ttl interval, is_increment boolean) OWNER TO postgres;

CREATE FUNCTION operations.breaker_before_call(breaker_name text, probe_lease interval) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'operations', 'pg_temp'
    AS $$
declare
    refused_until timestamptz;
begin
    update operations.circuit_breakers
    set state = 'half_open', retry_at = clock_timestamp() + probe_lease, changed_at = clock_timestamp()
    where name = breaker_name and state <> 'closed' and retry_at <= clock_timestamp();
    if found then
        return null;
    end if;
    select retry_at into refused_until
    from operations.circuit_breakers
    where name = breaker_name and state <> 'closed';
    return refused_until;
end
$$;

ALTER FUNCTION operations.breaker_before_call(breaker_name text, probe_lease interval) OWNER TO postgres;

CREATE FUNCTION operations.breaker_record(breaker_name text, succeeded boolean, threshold integer, pause interval) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'operations', 'pg_temp'
    AS $$
begin
    if succeeded then
        update operations.circuit_breakers
        set state = 'closed', failure_count = 0, opened_at = null, retry_at = null, changed_at = clock_timestamp()
        where name = breaker_name and (state <> 'closed' or failure_count > 0);
        return;
    end if;
    insert into operations.circuit_breakers as breaker (name, failure_count)
    values (breaker_name, 1)
    on conflict (name) do update set failure_count = breaker.failure_count + 1;
    update operations.circuit_breakers
    set state = 'open', opened_at = coalesce(opened_at, clock_timestamp()),
        retry_at = clock_timestamp() + pause, changed_at = clock_timestamp()
    where name = breaker_name and (state = 'half_open' or (state = 'closed' and failure_count >= threshold));
end
$$;

ALTER FUNCTION operations.breaker_record(breaker_name text, succeeded boolean, threshold integer, pause interval) OWNER TO postgres;

CREATE TABLE events.address_keys (
    day date NOT NULL,
    key bytea NOT NULL
);

ALTER TABLE events.address_keys OWNER TO postgres;

COMMENT ON TABLE events.address_keys IS 'One row per UTC day that events still arrive for: the secret under which client addresses are hashed. Removed after two days, which makes the hashes of that day meaningless to everybody.';

CREATE TABLE events.changed_days (
    day date NOT NULL,
    reason text NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE events.changed_days OWNER TO postgres;

COMMENT ON TABLE events.changed_days IS 'One row per UTC day of the event history that has lost rows and whose derived figures are to be built again. Whoever has seen to that deletes the row, unless changed_at has moved on.';

CREATE TABLE events.counted_views (
    address_hash text NOT NULL,
    rule_id text NOT NULL,
    counted_at timestamp with time zone NOT NULL
);

ALTER TABLE events.counted_views OWNER TO postgres;

COMMENT ON TABLE events.counted_views IS 'One row per counted VIEW of the last two days: another from the same address on the same rule within ten minutes does not count.';

CREATE TABLE events.daily_active_users (
    day date NOT NULL,
    active_users integer NOT NULL,
    active_users_7_days integer NOT NULL,
    active_users_28_days integer NOT NULL,
    new_users integer NOT NULL,
    sessions integer NOT NULL,
    CONSTRAINT daily_active_users_active_users_28_days_check CHECK ((active_users_28_days >= 0)),
    CONSTRAINT daily_active_users_active_users_7_days_check CHECK ((active_users_7_days >= 0)),
    CONSTRAINT daily_active_users_active_users_check CHECK ((active_users >= 0)),
    CONSTRAINT daily_active_users_new_users_check CHECK ((new_users >= 0)),
    CONSTRAINT daily_active_users_sessions_check CHECK ((sessions >= 0))
);

ALTER TABLE events.daily_active_users OWNER TO postgres;

CREATE TABLE events.erasure_requests (
    erasure_id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id text,
    user_digest text NOT NULL,
    mode text NOT NULL,
    status text DEFAULT 'requested'::text NOT NULL,
    requested_by text NOT NULL,
    request_id text,
    requested_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    completed_at timestamp with time zone,
    removed jsonb DEFAULT '{}'::jsonb NOT NULL,
    days date[] DEFAULT '{}'::date[] NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    error_message text,
    CONSTRAINT erasure_requests_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT erasure_requests_check CHECK (((status = 'completed'::text) = (user_id IS NULL))),
    CONSTRAINT erasure_requests_check1 CHECK (((status = 'completed'::text) = (completed_at IS NOT NULL))),
    CONSTRAINT erasure_requests_mode_check CHECK ((mode = ANY (ARRAY['erase'::text, 'anonymise'::text]))),
    CONSTRAINT erasure_requests_status_check CHECK ((status = ANY (ARRAY['requested'::text, 'completed'::text]))),
    CONSTRAINT erasure_requests_user_id_check CHECK (((length(user_id) >= 1) AND (length(user_id) <= 200)))
);

ALTER TABLE events.erasure_requests OWNER TO postgres;

COMMENT ON TABLE events.erasure_requests IS 'One row per request to erase or anonymise a person: what was removed where, which days of the lake it changed. The person''s id is there only until the request is completed, then only its SHA-256. One that fails is tried again at next_attempt_at, after 1, 2, 4 … 60 minutes.';

CREATE TABLE events.event_aggregations_daily (
    bucket_start timestamp with time zone CONSTRAINT event_aggregations_hourly_bucket_start_not_null NOT NULL,
    event_type text CONSTRAINT event_aggregations_hourly_event_type_not_null NOT NULL,
    event_category text CONSTRAINT event_aggregations_hourly_event_category_not_null NOT NULL,
    event_count integer CONSTRAINT event_aggregations_hourly_event_count_not_null NOT NULL,
    uncounted_count integer CONSTRAINT event_aggregations_hourly_uncounted_count_not_null NOT NULL,
    unique_users integer CONSTRAINT event_aggregations_hourly_unique_users_not_null NOT NULL,
    unique_sessions integer CONSTRAINT event_aggregations_hourly_unique_sessions_not_null NOT NULL,
    first_event_at timestamp with time zone CONSTRAINT event_aggregations_hourly_first_event_at_not_null NOT NULL,
    last_event_at timestamp with time zone CONSTRAINT event_aggregations_hourly_last_event_at_not_null NOT NULL,
    properties jsonb CONSTRAINT event_aggregations_hourly_properties_not_null NOT NULL,
    CONSTRAINT event_aggregations_hourly_event_count_check CHECK ((event_count >= 0)),
    CONSTRAINT event_aggregations_hourly_uncounted_count_check CHECK ((uncounted_count >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_sessions_check CHECK ((unique_sessions >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_users_check CHECK ((unique_users >= 0))
);

ALTER TABLE events.event_aggregations_daily OWNER TO postgres;

CREATE TABLE events.event_aggregations_hourly (
    bucket_start timestamp with time zone NOT NULL,
    event_type text NOT NULL,
    event_category text NOT NULL,
    event_count integer NOT NULL,
    uncounted_count integer NOT NULL,
    unique_users integer NOT NULL,
    unique_sessions integer NOT NULL,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    properties jsonb NOT NULL,
    CONSTRAINT event_aggregations_hourly_event_count_check CHECK ((event_count >= 0)),
    CONSTRAINT event_aggregations_hourly_uncounted_count_check CHECK ((uncounted_count >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_sessions_check CHECK ((unique_sessions >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_users_check CHECK ((unique_users >= 0))
);

ALTER TABLE events.event_aggregations_hourly OWNER TO postgres;

CREATE TABLE events.event_aggregations_weekly (
    bucket_start timestamp with time zone CONSTRAINT event_aggregations_hourly_bucket_start_not_null NOT NULL,
    event_type text CONSTRAINT event_aggregations_hourly_event_type_not_null NOT NULL,
    event_category text CONSTRAINT event_aggregations_hourly_event_category_not_null NOT NULL,
    event_count integer CONSTRAINT event_aggregations_hourly_event_count_not_null NOT NULL,
    uncounted_count integer CONSTRAINT event_aggregations_hourly_uncounted_count_not_null NOT NULL,
    unique_users integer CONSTRAINT event_aggregations_hourly_unique_users_not_null NOT NULL,
    unique_sessions integer CONSTRAINT event_aggregations_hourly_unique_sessions_not_null NOT NULL,
    first_event_at timestamp with time zone CONSTRAINT event_aggregations_hourly_first_event_at_not_null NOT NULL,
    last_event_at timestamp with time zone CONSTRAINT event_aggregations_hourly_last_event_at_not_null NOT NULL,
    properties jsonb CONSTRAINT event_aggregations_hourly_properties_not_null NOT NULL,
    CONSTRAINT event_aggregations_hourly_event_count_check CHECK ((event_count >= 0)),
    CONSTRAINT event_aggregations_hourly_uncounted_count_check CHECK ((uncounted_count >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_sessions_check CHECK ((unique_sessions >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_users_check CHECK ((unique_users >= 0))
);

ALTER TABLE events.event_aggregations_weekly OWNER TO postgres;

CREATE VIEW events.event_aggregations WITH (security_invoker='true') AS
 SELECT 'hourly'::text AS aggregation_period,
    hourly.bucket_start,
    hourly.event_type,
    hourly.event_category,
    hourly.event_count,
    hourly.uncounted_count,
    hourly.unique_users,
    hourly.unique_sessions,
    hourly.first_event_at,
    hourly.last_event_at,
    hourly.properties
   FROM events.event_aggregations_hourly hourly
UNION ALL
 SELECT 'daily'::text AS aggregation_period,
    daily.bucket_start,
    daily.event_type,
    daily.event_category,
    daily.event_count,
    daily.uncounted_count,
    daily.unique_users,
    daily.unique_sessions,
    daily.first_event_at,
    daily.last_event_at,
    daily.properties
   FROM events.event_aggregations_daily daily
UNION ALL
 SELECT 'weekly'::text AS aggregation_period,
    weekly.bucket_start,
    weekly.event_type,
    weekly.event_category,
    weekly.event_count,
    weekly.uncounted_count,
    weekly.unique_users,
    weekly.unique_sessions,
    weekly.first_event_at,
    weekly.last_event_at,
    weekly.properties
   FROM events.event_aggregations_weekly weekly;

ALTER VIEW events.event_aggregations OWNER TO postgres;

CREATE TABLE events.event_keys (
    key_hash uuid NOT NULL,
    event_id uuid NOT NULL
);

ALTER TABLE events.event_keys OWNER TO postgres;

COMMENT ON TABLE events.event_keys IS 'One row per idempotency key (its hash) of the last days: one table for all days, so that a key is one key across midnight. The event id is a UUIDv7, which tells the age.';

CREATE TABLE events.event_log_default (
    event_id uuid CONSTRAINT event_log_event_id_not_null NOT NULL,
    transaction_id xid8 DEFAULT pg_current_xact_id() CONSTRAINT event_log_transaction_id_not_null NOT NULL,
    event_type text CONSTRAINT event_log_event_type_not_null NOT NULL,
    event_category text CONSTRAINT event_log_event_category_not_null NOT NULL,
    schema_version integer CONSTRAINT event_log_schema_version_not_null NOT NULL,
    user_id text,
    session_id text,
    rule_id text,
    event_data jsonb CONSTRAINT event_log_event_data_not_null NOT NULL,
    metadata jsonb CONSTRAINT event_log_metadata_not_null NOT NULL,
    occurred_at timestamp with time zone CONSTRAINT event_log_occurred_at_not_null NOT NULL,
    received_at timestamp with time zone CONSTRAINT event_log_received_at_not_null NOT NULL,
    clock_skew_seconds double precision,
    idempotency_key text,
    caller text CONSTRAINT event_log_caller_not_null NOT NULL,
    origin text CONSTRAINT event_log_origin_not_null NOT NULL,
    country text,
    address_hash text,
    previous_address_hash text,
    CONSTRAINT event_log_event_category_check CHECK ((event_category = ANY (ARRAY['transaction'::text, 'interaction'::text, 'user_activity'::text, 'content'::text]))),
    CONSTRAINT event_log_event_type_check CHECK (((event_type <> ''::text) AND (length(event_type) <= 200))),
    CONSTRAINT event_log_occurred_at_check CHECK (((occurred_at >= '2000-01-01 00:00:00+00'::timestamp with time zone) AND (occurred_at < '2100-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT event_log_origin_check CHECK ((origin = ANY (ARRAY['http'::text, 'sql'::text, 'replay'::text]))),
    CONSTRAINT event_log_rule_id_check CHECK (((length(rule_id) >= 1) AND (length(rule_id) <= 200))),
    CONSTRAINT event_log_session_id_check CHECK (((length(session_id) >= 1) AND (length(session_id) <= 200))),
    CONSTRAINT event_log_user_id_check CHECK (((length(user_id) >= 1) AND (length(user_id) <= 200)))
);

ALTER TABLE events.event_log_default OWNER TO postgres;

CREATE TABLE events.event_schemas (
    event_type text NOT NULL,
    schema_version integer DEFAULT 1 NOT NULL,
    event_category text NOT NULL,
    retention_class text NOT NULL,
    required_fields text[] DEFAULT '{}'::text[] NOT NULL,
    json_schema jsonb DEFAULT '{"type": "object"}'::jsonb NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT event_schemas_event_category_check CHECK ((event_category = ANY (ARRAY['transaction'::text, 'interaction'::text, 'user_activity'::text, 'content'::text]))),
    CONSTRAINT event_schemas_event_type_check CHECK ((event_type <> ''::text)),
    CONSTRAINT event_schemas_schema_version_check CHECK ((schema_version >= 1))
);

ALTER TABLE events.event_schemas OWNER TO postgres;

COMMENT ON TABLE events.event_schemas IS 'One row per event type and version: the JSON Schema of its event_data, the fields of the envelope that it requires, how long it is kept. The highest active version holds for an event that names none.';

CREATE TABLE events.retention_classes (
    retention_class text NOT NULL,
    kept_for interval NOT NULL,
    CONSTRAINT retention_classes_kept_for_check CHECK ((kept_for > '00:00:00'::interval))
);

ALTER TABLE events.retention_classes OWNER TO postgres;

COMMENT ON TABLE events.retention_classes IS 'One row per retention class: how long after it occurred an event is kept.';

CREATE VIEW events.event_retention WITH (security_invoker='true') AS
 SELECT schemas.event_type,
    max(classes.kept_for) AS kept_for
   FROM (events.event_schemas schemas
     JOIN events.retention_classes classes ON ((schemas.retention_class = classes.retention_class)))
  GROUP BY schemas.event_type;

ALTER VIEW events.event_retention OWNER TO postgres;

COMMENT ON VIEW events.event_retention IS 'One row per event type: how long its events are kept, the longest of its versions.';

CREATE TABLE events.funnels (
    day date NOT NULL,
    funnel text NOT NULL,
    step integer NOT NULL,
    event_type text NOT NULL,
    users integer NOT NULL,
    conversion_ratio double precision,
    median_seconds double precision,
    CONSTRAINT funnels_conversion_ratio_check CHECK (((conversion_ratio >= (0)::double precision) AND (conversion_ratio <= (1)::double precision))),
    CONSTRAINT funnels_median_seconds_check CHECK ((median_seconds >= (0)::double precision)),
    CONSTRAINT funnels_step_check CHECK ((step >= 1)),
    CONSTRAINT funnels_users_check CHECK ((users >= 0))
);

ALTER TABLE events.funnels OWNER TO postgres;

CREATE TABLE events.intake_counts (
    day date NOT NULL,
    intake_id text NOT NULL,
    received bigint DEFAULT 0 NOT NULL,
    stored bigint DEFAULT 0 NOT NULL,
    duplicate bigint DEFAULT 0 NOT NULL,
    rejected bigint DEFAULT 0 NOT NULL,
    erased bigint DEFAULT 0 NOT NULL
);

ALTER TABLE events.intake_counts OWNER TO postgres;

COMMENT ON TABLE events.intake_counts IS 'One row per UTC day and intake process: events received and what became of each, counted in the transaction that stored them. Erasure counts what it took away again.';

CREATE TABLE events.platform_metrics_realtime (
    metric_name text NOT NULL,
    dimensions jsonb DEFAULT '{}'::jsonb NOT NULL,
    metric_value double precision NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT platform_metrics_realtime_metric_name_check CHECK ((metric_name <> ''::text))
);

ALTER TABLE events.platform_metrics_realtime OWNER TO postgres;

COMMENT ON TABLE events.platform_metrics_realtime IS 'One row per metric and its dimensions, for dashboards; gone after expires_at.';

CREATE TABLE events.retention_cohorts (
    week date NOT NULL,
    cohort_week date NOT NULL,
    weeks_since integer NOT NULL,
    cohort_users integer NOT NULL,
    retained_users integer NOT NULL,
    retention_ratio double precision,
    CONSTRAINT retention_cohorts_cohort_users_check CHECK ((cohort_users >= 0)),
    CONSTRAINT retention_cohorts_retained_users_check CHECK ((retained_users >= 0)),
    CONSTRAINT retention_cohorts_retention_ratio_check CHECK (((retention_ratio >= (0)::double precision) AND (retention_ratio <= (1)::double precision))),
    CONSTRAINT retention_cohorts_weeks_since_check CHECK ((weeks_since >= 0))
);

ALTER TABLE events.retention_cohorts OWNER TO postgres;

CREATE TABLE market.comparisons (
    as_of_date date NOT NULL,
    base_symbol text NOT NULL,
    quote_symbol text NOT NULL,
    window_days integer NOT NULL,
    price_ratio double precision,
    volume_ratio double precision,
    roi_spread_ratio double precision,
    return_correlation double precision,
    common_return_count integer NOT NULL,
    method_version text NOT NULL,
    CONSTRAINT comparisons_check CHECK ((base_symbol < (quote_symbol COLLATE "C"))),
    CONSTRAINT comparisons_common_return_count_check CHECK ((common_return_count >= 0)),
    CONSTRAINT comparisons_price_ratio_check CHECK (((price_ratio > (0)::double precision) AND (price_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_return_correlation_check CHECK (((return_correlation >= ('-1'::integer)::double precision) AND (return_correlation <= (1)::double precision))),
    CONSTRAINT comparisons_roi_spread_ratio_check CHECK (((roi_spread_ratio > '-Infinity'::double precision) AND (roi_spread_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_volume_ratio_check CHECK (((volume_ratio >= (0)::double precision) AND (volume_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_window_days_check CHECK ((window_days > 0))
);

ALTER TABLE market.comparisons OWNER TO postgres;

CREATE TABLE market.markets (
    symbol text NOT NULL,
    name text NOT NULL,
    base_asset text NOT NULL,
    quote_asset text NOT NULL,
    asset_class text NOT NULL,
    calendar text NOT NULL,
    periods_per_year integer NOT NULL,
    first_day date NOT NULL,
    provider text NOT NULL,
    CONSTRAINT markets_asset_class_check CHECK ((asset_class = ANY (ARRAY['crypto'::text, 'equity'::text, 'index'::text]))),
    CONSTRAINT markets_periods_per_year_check CHECK (((periods_per_year >= 1) AND (periods_per_year <= 366))),
    CONSTRAINT markets_symbol_check CHECK ((symbol <> ''::text))
);

ALTER TABLE market.markets OWNER TO postgres;

CREATE TABLE market.roi_statistics (
    as_of_date date NOT NULL,
    symbol text NOT NULL,
    window_days integer NOT NULL,
    return_count integer NOT NULL,
    total_return_ratio double precision,
    annualised_return_ratio double precision,
    volatility_ratio double precision,
    sharpe_ratio double precision,
    sortino_ratio double precision,
    max_drawdown_ratio double precision,
    max_drawdown_peak_date date,
    max_drawdown_trough_date date,
    calmar_ratio double precision,
    best_day_ratio double precision,
    worst_day_ratio double precision,
    periods_per_year integer NOT NULL,
    risk_free_rate_ratio double precision NOT NULL,
    method_version text NOT NULL,
    CONSTRAINT roi_statistics_annualised_return_ratio_check CHECK (((annualised_return_ratio >= ('-1'::integer)::double precision) AND (annualised_return_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_best_day_ratio_check CHECK (((best_day_ratio >= ('-1'::integer)::double precision) AND (best_day_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_calmar_ratio_check CHECK (((calmar_ratio > '-Infinity'::double precision) AND (calmar_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_check CHECK ((max_drawdown_peak_date < max_drawdown_trough_date)),
    CONSTRAINT roi_statistics_max_drawdown_ratio_check CHECK (((max_drawdown_ratio >= ('-1'::integer)::double precision) AND (max_drawdown_ratio <= (0)::double precision))),
    CONSTRAINT roi_statistics_return_count_check CHECK ((return_count >= 1)),
    CONSTRAINT roi_statistics_sharpe_ratio_check CHECK (((sharpe_ratio > '-Infinity'::double precision) AND (sharpe_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_sortino_ratio_check CHECK (((sortino_ratio > '-Infinity'::double precision) AND (sortino_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_total_return_ratio_check CHECK (((total_return_ratio >= ('-1'::integer)::double precision) AND (total_return_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_volatility_ratio_check CHECK (((volatility_ratio >= (0)::double precision) AND (volatility_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_window_days_check CHECK ((window_days > 0)),
    CONSTRAINT roi_statistics_worst_day_ratio_check CHECK (((worst_day_ratio >= ('-1'::integer)::double precision) AND (worst_day_ratio < 'Infinity'::double precision)))
);

ALTER TABLE market.roi_statistics OWNER TO postgres;

CREATE TABLE market.snapshots (
    symbol text NOT NULL,
    as_of timestamp with time zone NOT NULL,
    price double precision NOT NULL,
    change_24h_ratio double precision,
    volume_24h double precision,
    volatility_ratio double precision,
    roi_1d_ratio double precision,
    roi_7d_ratio double precision,
    roi_30d_ratio double precision,
    provider text NOT NULL,
    CONSTRAINT snapshots_change_24h_ratio_check CHECK (((change_24h_ratio > '-Infinity'::double precision) AND (change_24h_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_price_check CHECK (((price > (0)::double precision) AND (price < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_1d_ratio_check CHECK (((roi_1d_ratio >= ('-1'::integer)::double precision) AND (roi_1d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_30d_ratio_check CHECK (((roi_30d_ratio >= ('-1'::integer)::double precision) AND (roi_30d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_7d_ratio_check CHECK (((roi_7d_ratio >= ('-1'::integer)::double precision) AND (roi_7d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_volatility_ratio_check CHECK (((volatility_ratio >= (0)::double precision) AND (volatility_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_volume_24h_check CHECK (((volume_24h >= (0)::double precision) AND (volume_24h < 'Infinity'::double precision)))
);

ALTER TABLE market.snapshots OWNER TO postgres;

CREATE TABLE operations.api_requests (
    occurred_at timestamp with time zone NOT NULL,
    request_id text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    status smallint NOT NULL,
    duration_ms real NOT NULL,
    request_bytes bigint NOT NULL,
    response_bytes bigint NOT NULL,
    caller text,
    cache_hit boolean,
    market text,
    CONSTRAINT api_requests_duration_ms_check CHECK ((duration_ms >= (0)::double precision)),
    CONSTRAINT api_requests_request_bytes_check CHECK ((request_bytes >= 0)),
    CONSTRAINT api_requests_response_bytes_check CHECK ((response_bytes >= 0)),
    CONSTRAINT api_requests_status_check CHECK (((status >= 100) AND (status <= 599)))
);

ALTER TABLE operations.api_requests OWNER TO postgres;

COMMENT ON TABLE operations.api_requests IS 'One row per HTTP request, refused ones too: the path as its template, the caller by name, never an address.';

CREATE TABLE operations.app_tokens (
    name text NOT NULL,
    digest text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT app_tokens_check CHECK ((expires_at > created_at)),
    CONSTRAINT app_tokens_digest_check CHECK ((digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT app_tokens_name_check CHECK ((name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'::text)),
    CONSTRAINT app_tokens_scopes_check CHECK ((cardinality(scopes) > 0))
);

ALTER TABLE operations.app_tokens OWNER TO postgres;

COMMENT ON TABLE operations.app_tokens IS 'One row per application token: the SHA-256 of the token, never the token; what it may do and until when.';

CREATE TABLE operations.audit_log (
    audit_id bigint NOT NULL,
    occurred_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject_digest text,
    request_id text,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_log_action_check CHECK ((action <> ''::text)),
    CONSTRAINT audit_log_actor_check CHECK ((actor <> ''::text)),
    CONSTRAINT audit_log_subject_digest_check CHECK ((subject_digest ~ '^[0-9a-f]{64}$'::text))
);

ALTER TABLE operations.audit_log OWNER TO postgres;

COMMENT ON TABLE operations.audit_log IS 'One row per sensitive action: who did what, when, in which request, about whom. The person is the SHA-256 of their id, which proves that something was done to somebody who is named, and names nobody. Rows are added and never changed.';

ALTER TABLE operations.audit_log ALTER COLUMN audit_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.audit_log_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.circuit_breakers (
    name text NOT NULL,
    state text DEFAULT 'closed'::text NOT NULL,
    failure_count integer DEFAULT 0 NOT NULL,
    opened_at timestamp with time zone,
    retry_at timestamp with time zone,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT circuit_breakers_check CHECK (((state = 'closed'::text) = (retry_at IS NULL))),
    CONSTRAINT circuit_breakers_failure_count_check CHECK ((failure_count >= 0)),
    CONSTRAINT circuit_breakers_state_check CHECK ((state = ANY (ARRAY['closed'::text, 'open'::text, 'half_open'::text])))
);

ALTER TABLE operations.circuit_breakers OWNER TO postgres;

COMMENT ON TABLE operations.circuit_breakers IS 'One row per outside source: closed calls go through, open they do not, half_open one probe does until retry_at.';

CREATE TABLE operations.rejects (
    reject_id bigint NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    payload jsonb NOT NULL,
    payload_digest text NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_count integer DEFAULT 1 NOT NULL,
    replayed_at timestamp with time zone,
    replayed_as text,
    CONSTRAINT rejects_seen_count_check CHECK ((seen_count >= 1))
);

ALTER TABLE operations.rejects OWNER TO postgres;

COMMENT ON TABLE operations.rejects IS 'One row per bad row per source: what it was and why it was refused. Seen again, it is counted, not repeated.';

ALTER TABLE operations.rejects ALTER COLUMN reject_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.rejects_reject_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.schema_migrations (
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE operations.schema_migrations OWNER TO postgres;

ALTER TABLE ONLY events.event_log ATTACH PARTITION events.event_log_default DEFAULT;

ALTER TABLE ONLY events.address_keys
    ADD CONSTRAINT address_keys_pkey PRIMARY KEY (day);

ALTER TABLE ONLY events.changed_days
    ADD CONSTRAINT changed_days_pkey PRIMARY KEY (day);

ALTER TABLE ONLY events.counted_views
    ADD CONSTRAINT counted_views_pkey PRIMARY KEY (address_hash, rule_id, counted_at);

ALTER TABLE ONLY events.daily_active_users
    ADD CONSTRAINT daily_active_users_pkey PRIMARY KEY (day);

ALTER TABLE ONLY events.erasure_requests
    ADD CONSTRAINT erasure_requests_pkey PRIMARY KEY (erasure_id);

ALTER TABLE ONLY events.event_aggregations_daily
    ADD CONSTRAINT event_aggregations_daily_pkey PRIMARY KEY (event_type, event_category, bucket_start);

ALTER TABLE ONLY events.event_aggregations_hourly
    ADD CONSTRAINT event_aggregations_hourly_pkey PRIMARY KEY (event_type, event_category, bucket_start);

ALTER TABLE ONLY events.event_aggregations_weekly
    ADD CONSTRAINT event_aggregations_weekly_pkey PRIMARY KEY (event_type, event_category, bucket_start);

ALTER TABLE ONLY events.event_keys
    ADD CONSTRAINT event_keys_pkey PRIMARY KEY (key_hash);

ALTER TABLE ONLY events.event_schemas
    ADD CONSTRAINT event_schemas_pkey PRIMARY KEY (event_type, schema_version);

ALTER TABLE ONLY events.event_states
    ADD CONSTRAINT event_states_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY events.funnels
    ADD CONSTRAINT funnels_pkey PRIMARY KEY (day, funnel, step);

ALTER TABLE ONLY events.intake_counts
    ADD CONSTRAINT intake_counts_pkey PRIMARY KEY (day, intake_id);

ALTER TABLE ONLY events.platform_metrics_realtime
    ADD CONSTRAINT platform_metrics_realtime_pkey PRIMARY KEY (metric_name, dimensions);

ALTER TABLE ONLY events.retention_classes
    ADD CONSTRAINT retention_classes_pkey PRIMARY KEY (retention_class);

ALTER TABLE ONLY events.retention_cohorts
    ADD CONSTRAINT retention_cohorts_pkey PRIMARY KEY (week, cohort_week);

ALTER TABLE ONLY events.warehouse_sync_status
    ADD CONSTRAINT warehouse_sync_status_pkey PRIMARY KEY (warehouse_type, batch_number);

ALTER TABLE ONLY market.comparisons
    ADD CONSTRAINT comparisons_pkey PRIMARY KEY (as_of_date, base_symbol, quote_symbol);

ALTER TABLE ONLY market.markets
    ADD CONSTRAINT markets_pkey PRIMARY KEY (symbol);

ALTER TABLE ONLY market.roi_statistics
    ADD CONSTRAINT roi_statistics_pkey PRIMARY KEY (as_of_date, symbol, window_days);

ALTER TABLE ONLY market.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (symbol, as_of);

ALTER TABLE ONLY operations.app_tokens
    ADD CONSTRAINT app_tokens_digest_key UNIQUE (digest);

ALTER TABLE ONLY operations.app_tokens
    ADD CONSTRAINT app_tokens_pkey PRIMARY KEY (name);

ALTER TABLE ONLY operations.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (audit_id);

ALTER TABLE ONLY operations.circuit_breakers
    ADD CONSTRAINT circuit_breakers_pkey PRIMARY KEY (name);

ALTER TABLE ONLY operations.rejects
    ADD CONSTRAINT rejects_pkey PRIMARY KEY (reject_id);

ALTER TABLE ONLY operations.rejects
    ADD CONSTRAINT rejects_source_payload_digest_key UNIQUE (source, payload_digest);

ALTER TABLE ONLY operations.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

CREATE UNIQUE INDEX erasure_requests_open ON events.erasure_requests USING btree (user_id, mode) WHERE (status = 'requested'::text);

CREATE INDEX event_aggregations_daily_bucket_start_idx ON events.event_aggregations_daily USING btree (bucket_start);

CREATE INDEX event_aggregations_hourly_bucket ON events.event_aggregations_hourly USING btree (bucket_start);

CREATE INDEX event_aggregations_weekly_bucket_start_idx ON events.event_aggregations_weekly USING btree (bucket_start);

CREATE INDEX event_log_event_id ON ONLY events.event_log USING btree (event_id);

CREATE INDEX event_log_default_event_id_idx ON events.event_log_default USING btree (event_id);

CREATE INDEX event_log_transaction_id ON ONLY events.event_log USING btree (transaction_id);

CREATE INDEX event_log_default_transaction_id_idx ON events.event_log_default USING btree (transaction_id);

CREATE INDEX event_log_user_id ON ONLY events.event_log USING btree (user_id, received_at);

CREATE INDEX event_log_default_user_id_received_at_idx ON events.event_log_default USING btree (user_id, received_at);

CREATE INDEX event_states_due ON events.event_states USING btree (next_attempt_at) WHERE (processing_status <> 'processed'::text);

CREATE INDEX event_states_received_at ON events.event_states USING btree (received_at);

CREATE INDEX platform_metrics_realtime_expires_at ON events.platform_metrics_realtime USING btree (expires_at);

CREATE INDEX warehouse_sync_status_created_at ON events.warehouse_sync_status USING btree (created_at);

CREATE UNIQUE INDEX warehouse_sync_status_open ON events.warehouse_sync_status USING btree (warehouse_type) WHERE ((status <> 'committed'::text) AND (warehouse_type = 'delta'::text));

CREATE INDEX warehouse_sync_status_position ON events.warehouse_sync_status USING btree (warehouse_type, next_transaction_id);

CREATE INDEX api_requests_occurred ON operations.api_requests USING btree (occurred_at);

CREATE INDEX audit_log_subject ON operations.audit_log USING btree (subject_digest) WHERE (subject_digest IS NOT NULL);

CREATE INDEX rejects_last_seen ON operations.rejects USING btree (last_seen_at);

ALTER INDEX events.event_log_event_id ATTACH PARTITION events.event_log_default_event_id_idx;

ALTER INDEX events.event_log_transaction_id ATTACH PARTITION events.event_log_default_transaction_id_idx;

ALTER INDEX events.event_log_user_id ATTACH PARTITION events.event_log_default_user_id_received_at_idx;

ALTER TABLE ONLY events.event_schemas
    ADD CONSTRAINT event_schemas_retention_class_fkey FOREIGN KEY (retention_class) REFERENCES events.retention_classes(retention_class);

ALTER TABLE ONLY market.snapshots
    ADD CONSTRAINT snapshots_symbol_fkey FOREIGN KEY (symbol) REFERENCES market.markets(symbol);

CREATE POLICY callers_see_theirs ON events.event_log FOR SELECT TO pipeline_intake USING (
CASE
    WHEN (( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'application'::text) THEN true
    ELSE (user_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text))
END);

ALTER TABLE events.event_log ENABLE ROW LEVEL SECURITY;

CREATE POLICY intake_inserts ON events.event_log FOR INSERT TO pipeline_intake WITH CHECK (true);

CREATE POLICY owner_sees_all ON events.event_log TO postgres USING (true) WITH CHECK (true);

CREATE POLICY readers_see_all ON events.event_log FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY workers_see_all ON events.event_log TO pipeline_worker USING (true) WITH CHECK (true);

GRANT USAGE ON SCHEMA events TO pipeline_worker;
GRANT USAGE ON SCHEMA events TO pipeline_reader;
GRANT USAGE ON SCHEMA events TO pipeline_intake;

GRANT USAGE ON SCHEMA market TO pipeline_worker;
GRANT USAGE ON SCHEMA market TO pipeline_reader;

GRANT USAGE ON SCHEMA operations TO pipeline_worker;
GRANT USAGE ON SCHEMA operations TO pipeline_reader;
GRANT USAGE ON SCHEMA operations TO pipeline_intake;

REVOKE ALL ON FUNCTION events.aggregate_events_hourly(target_hour timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION events.aggregate_events_hourly(target_hour timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.apply_data_retention_policy(hot_days integer, deduplication_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION events.apply_data_retention_policy(hot_days integer, deduplication_days integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.cleanup_expired_metrics() FROM PUBLIC;
GRANT ALL ON FUNCTION events.cleanup_expired_metrics() TO pipeline_worker;

REVOKE ALL ON FUNCTION events.emit_platform_event(event_type text, event_category text, user_id text, event_data jsonb, session_id text, metadata jsonb, idempotency_key text, occurred_at timestamp with time zone, rule_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION events.emit_platform_event(event_type text, event_category text, user_id text, event_data jsonb, session_id text, metadata jsonb, idempotency_key text, occurred_at timestamp with time zone, rule_id text) TO pipeline_worker;
GRANT ALL ON FUNCTION events.emit_platform_event(event_type text, event_category text, user_id text, event_data jsonb, session_id text, metadata jsonb, idempotency_key text, occurred_at timestamp with time zone, rule_id text) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.emit_project_created() FROM PUBLIC;

REVOKE ALL ON FUNCTION events.emit_review_posted() FROM PUBLIC;

REVOKE ALL ON FUNCTION events.ensure_address_key(wanted_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION events.ensure_address_key(wanted_day date) TO pipeline_worker;
GRANT ALL ON FUNCTION events.ensure_address_key(wanted_day date) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.ensure_event_partitions(days_ahead integer) FROM PUBLIC;
GRANT ALL ON FUNCTION events.ensure_event_partitions(days_ahead integer) TO pipeline_worker;
GRANT ALL ON FUNCTION events.ensure_event_partitions(days_ahead integer) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.erase_hot_events(erased_user text, erasure_mode text) FROM PUBLIC;
GRANT ALL ON FUNCTION events.erase_hot_events(erased_user text, erasure_mode text) TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_log TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE events.event_log TO pipeline_intake;
GRANT SELECT ON TABLE events.event_log TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_states TO pipeline_worker;
GRANT SELECT ON TABLE events.event_states TO pipeline_intake;
GRANT SELECT ON TABLE events.event_states TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.warehouse_sync_status TO pipeline_worker;
GRANT SELECT ON TABLE events.warehouse_sync_status TO pipeline_intake;
GRANT SELECT ON TABLE events.warehouse_sync_status TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.platform_events TO pipeline_worker;
GRANT SELECT ON TABLE events.platform_events TO pipeline_intake;
GRANT SELECT ON TABLE events.platform_events TO pipeline_reader;

REVOKE ALL ON FUNCTION events.get_pending_events(batch_size integer) FROM PUBLIC;
GRANT ALL ON FUNCTION events.get_pending_events(batch_size integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.mark_event_processed(event_id uuid, success boolean, error_message text) FROM PUBLIC;
GRANT ALL ON FUNCTION events.mark_event_processed(event_id uuid, success boolean, error_message text) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.prune(kind text, deduplication_days integer, from_block bigint, before_block bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION events.prune(kind text, deduplication_days integer, from_block bigint, before_block bigint) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text) TO pipeline_worker;
GRANT ALL ON FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.retry_failed_events(received_from timestamp with time zone, received_before timestamp with time zone, of_type text, reason_part text, is_dry_run boolean, most bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION events.retry_failed_events(received_from timestamp with time zone, received_before timestamp with time zone, of_type text, reason_part text, is_dry_run boolean, most bigint) TO pipeline_worker;
GRANT ALL ON FUNCTION events.retry_failed_events(received_from timestamp with time zone, received_before timestamp with time zone, of_type text, reason_part text, is_dry_run boolean, most bigint) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.update_realtime_metric(metric_name text, metric_value double precision, dimensions jsonb, ttl interval, is_increment boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION events.update_realtime_metric(metric_name text, metric_value double precision, dimensions jsonb, ttl interval, is_increment boolean) TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.address_keys TO pipeline_worker;
GRANT SELECT ON TABLE events.address_keys TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.changed_days TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.counted_views TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.daily_active_users TO pipeline_worker;
GRANT SELECT ON TABLE events.daily_active_users TO pipeline_intake;
GRANT SELECT ON TABLE events.daily_active_users TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.erasure_requests TO pipeline_worker;

GRANT SELECT(erasure_id) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(mode) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(status) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(requested_at) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(completed_at) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(removed) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(error_message) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_aggregations_daily TO pipeline_worker;
GRANT SELECT ON TABLE events.event_aggregations_daily TO pipeline_intake;
GRANT SELECT ON TABLE events.event_aggregations_daily TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_aggregations_hourly TO pipeline_worker;
GRANT SELECT ON TABLE events.event_aggregations_hourly TO pipeline_intake;
GRANT SELECT ON TABLE events.event_aggregations_hourly TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_aggregations_weekly TO pipeline_worker;
GRANT SELECT ON TABLE events.event_aggregations_weekly TO pipeline_intake;
GRANT SELECT ON TABLE events.event_aggregations_weekly TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_aggregations TO pipeline_worker;
GRANT SELECT ON TABLE events.event_aggregations TO pipeline_intake;
GRANT SELECT ON TABLE events.event_aggregations TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_keys TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE events.event_keys TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_log_default TO pipeline_worker;
GRANT INSERT ON TABLE events.event_log_default TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_schemas TO pipeline_worker;
GRANT SELECT ON TABLE events.event_schemas TO pipeline_intake;
GRANT SELECT ON TABLE events.event_schemas TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.retention_classes TO pipeline_worker;
GRANT SELECT ON TABLE events.retention_classes TO pipeline_intake;
GRANT SELECT ON TABLE events.retention_classes TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_retention TO pipeline_worker;
GRANT SELECT ON TABLE events.event_retention TO pipeline_intake;
GRANT SELECT ON TABLE events.event_retention TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.funnels TO pipeline_worker;
GRANT SELECT ON TABLE events.funnels TO pipeline_intake;
GRANT SELECT ON TABLE events.funnels TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.intake_counts TO pipeline_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE events.intake_counts TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.platform_metrics_realtime TO pipeline_worker;
GRANT SELECT ON TABLE events.platform_metrics_realtime TO pipeline_intake;
GRANT SELECT ON TABLE events.platform_metrics_realtime TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.retention_cohorts TO pipeline_worker;
GRANT SELECT ON TABLE events.retention_cohorts TO pipeline_intake;
GRANT SELECT ON TABLE events.retention_cohorts TO pipeline_reader;

GRANT SELECT ON TABLE market.comparisons TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.comparisons TO pipeline_worker;

GRANT SELECT ON TABLE market.markets TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.markets TO pipeline_worker;

GRANT SELECT ON TABLE market.roi_statistics TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.roi_statistics TO pipeline_worker;

GRANT SELECT ON TABLE market.snapshots TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.snapshots TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.api_requests TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE operations.api_requests TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.app_tokens TO pipeline_worker;
GRANT SELECT ON TABLE operations.app_tokens TO pipeline_intake;

GRANT SELECT,INSERT ON TABLE operations.audit_log TO pipeline_worker;
GRANT INSERT ON TABLE operations.audit_log TO pipeline_intake;

GRANT SELECT,USAGE ON SEQUENCE operations.audit_log_audit_id_seq TO pipeline_worker;

GRANT SELECT ON TABLE operations.circuit_breakers TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.circuit_breakers TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.rejects TO pipeline_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE operations.rejects TO pipeline_intake;

GRANT SELECT,USAGE ON SEQUENCE operations.rejects_reject_id_seq TO pipeline_worker;
GRANT SELECT,USAGE ON SEQUENCE operations.rejects_reject_id_seq TO pipeline_intake;

GRANT SELECT ON TABLE operations.schema_migrations TO pipeline_worker;
GRANT SELECT ON TABLE operations.schema_migrations TO pipeline_reader;
GRANT SELECT ON TABLE operations.schema_migrations TO pipeline_intake;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA events GRANT SELECT,USAGE ON SEQUENCES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA events GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA market GRANT SELECT ON TABLES TO pipeline_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA market GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT,USAGE ON SEQUENCES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT ON TABLES TO pipeline_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;
