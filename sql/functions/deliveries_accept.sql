-- Keeps deliveries, each once by its source and key, and says which one is kept, in the order in which they are given: a
-- rejected one gives way to whatever comes after it, any other stays as it is and the new one is its duplicate. Only a
-- good one makes its source known. Sources are touched last and in the order of their names: whoever waits for a
-- delivery of somebody else holds none of them.
create or replace function operations.accept_deliveries(given jsonb)
returns table (delivery_id uuid, is_duplicate boolean, is_same boolean, status text)
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    new record;
begin
    for new in
        select it.* from jsonb_to_recordset(given) as it (
            source text, idempotency_key text, event_type text, market_slug text, payload jsonb, reason text,
            scheme text, signed_by text, signed_at timestamptz, origin text, request_id text
        )
    loop
        loop
            insert into operations.deliveries as kept (
                source, idempotency_key, event_type, market_slug, payload, status, reason, settled_at, scheme,
                signed_by, signed_at, origin, request_id
            ) values (
                new.source, new.idempotency_key, new.event_type, new.market_slug, new.payload,
                case when new.reason is null then 'pending' else 'rejected' end, new.reason,
                case when new.reason is not null then clock_timestamp() end, new.scheme, new.signed_by, new.signed_at,
                new.origin, new.request_id
            )
            on conflict (source, idempotency_key) do update set
                event_type = excluded.event_type, market_slug = excluded.market_slug, payload = excluded.payload,
                status = excluded.status, reason = excluded.reason, settled_at = excluded.settled_at,
                scheme = excluded.scheme, signed_by = excluded.signed_by, signed_at = excluded.signed_at,
                origin = excluded.origin, request_id = excluded.request_id, received_at = excluded.received_at,
                attempt_count = 0, next_attempt_at = excluded.next_attempt_at
            where kept.status = 'rejected'
            returning kept.delivery_id, false, true, kept.status
            into accept_deliveries.delivery_id, is_duplicate, is_same, accept_deliveries.status;
            exit when found;
            select kept.delivery_id, true, kept.payload = new.payload, kept.status
            into accept_deliveries.delivery_id, is_duplicate, is_same, accept_deliveries.status
            from operations.deliveries as kept
            where kept.source = new.source and kept.idempotency_key = new.idempotency_key;
            exit when found;  -- else it was removed between the two statements
        end loop;
        return next;
    end loop;
    for new in
        select it.source, bool_or(it.reason is null) as is_good, bool_or(it.scheme <> 'file') as is_webhook
        from jsonb_to_recordset(given) as it (source text, reason text, scheme text)
        group by it.source
        order by it.source
    loop
        -- at most once a second: deliveries of one source do not wait for each other
        update operations.delivery_sources as sources
        set last_received_at = clock_timestamp(), by_webhook = sources.by_webhook or new.is_webhook
        where
            sources.source = new.source
            and (
                sources.last_received_at < clock_timestamp() - interval '1 second'
                or (new.is_webhook and not sources.by_webhook)
            );
        if not found and new.is_good then
            insert into operations.delivery_sources (source, by_webhook) values (new.source, new.is_webhook)
            on conflict (source) do nothing;
        end if;
    end loop;
end
$$;

revoke all on function operations.accept_deliveries(jsonb) from public;
grant execute on function operations.accept_deliveries(jsonb) to pipeline_worker, pipeline_intake;
