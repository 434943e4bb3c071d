-- Deletes what has expired of one kind (idempotency_keys, rejects, api_requests) from some blocks of its table; returns
-- how many rows. Block by block, so that nobody who takes the same key in waits long: retention goes through the blocks
-- in transactions of their own before it calls apply_data_retention_policy, which calls this for the whole table.
-- A reject expires by the class of its type, counted from when it was last received; of an unknown type after the
-- shortest class, because nobody can say what it is needed for.
create or replace function events.prune(
    kind text, deduplication_days integer, from_block bigint default 0, before_block bigint default 4294967295
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog
as $$
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

revoke all on function events.prune(text, integer, bigint, bigint) from public;
grant execute on function events.prune(text, integer, bigint, bigint) to pipeline_worker;
