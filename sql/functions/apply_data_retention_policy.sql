-- Removes from PostgreSQL what has been kept long enough; returns what and how much of it. The lake's part is
-- domains/events/retention.py, which calls this one.
--
-- An event expires by its class (events.event_retention), counted from the UTC day on which it happened; of a type that
-- the registry has lost, after the longest class. Idempotency keys, rejects and requests expire as events.prune says.
-- An event that is not yet in the lake stays, whatever its age, unless it has failed for good and its class is over.
-- A day's partition goes `hot_days` after the day when all of it is in the lake; if some of it is not, or has failed or
-- is claimed, the rest of its rows go. A partition that somebody reads is left for the next time: the intake would wait
-- behind us.
create or replace function events.apply_data_retention_policy(
    hot_days integer default 30, deduplication_days integer default 7
)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog
set timezone = 'UTC'
set lock_timeout = 0
as $$
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
$$;

revoke all on function events.apply_data_retention_policy(integer, integer) from public;
grant execute on function events.apply_data_retention_policy(integer, integer) to pipeline_worker;
