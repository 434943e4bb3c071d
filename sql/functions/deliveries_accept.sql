-- Keeps a delivery, once by its source and key, and says which one is kept: a rejected one gives way to whatever comes
-- after it, any other stays as it is and the new one is its duplicate. Only a good one makes its source known.
create or replace function operations.accept_delivery(
    new_source text,
    new_key text,
    new_type text,
    new_market text,
    new_payload jsonb,
    new_reason text,
    new_scheme text,
    signer text,
    new_signed_at timestamptz,
    new_origin text,
    new_request_id text,
    out delivery_id uuid,
    out is_duplicate boolean,
    out is_same boolean,
    out status text
)
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    new_status constant text := case when new_reason is null then 'pending' else 'rejected' end;
begin
    loop
        insert into operations.deliveries as kept (
            source, idempotency_key, event_type, market_slug, payload, status, reason, settled_at, scheme, signed_by,
            signed_at, origin, request_id
        ) values (
            new_source, new_key, new_type, new_market, new_payload, new_status, new_reason,
            case when new_reason is not null then clock_timestamp() end, new_scheme, signer, new_signed_at, new_origin,
            new_request_id
        )
        on conflict (source, idempotency_key) do update set
            event_type = excluded.event_type, market_slug = excluded.market_slug, payload = excluded.payload,
            status = excluded.status, reason = excluded.reason, settled_at = excluded.settled_at,
            scheme = excluded.scheme, signed_by = excluded.signed_by, signed_at = excluded.signed_at,
            origin = excluded.origin, request_id = excluded.request_id, received_at = excluded.received_at,
            attempt_count = 0, next_attempt_at = excluded.next_attempt_at
        where kept.status = 'rejected'
        returning kept.delivery_id, false, true, kept.status
        into accept_delivery.delivery_id, is_duplicate, is_same, accept_delivery.status;
        exit when found;
        select kept.delivery_id, true, kept.payload = new_payload, kept.status
        into accept_delivery.delivery_id, is_duplicate, is_same, accept_delivery.status
        from operations.deliveries as kept
        where kept.source = new_source and kept.idempotency_key = new_key;
        exit when found;  -- else it was purged between the two statements
    end loop;
    -- at most once a second: deliveries of one source do not wait for each other
    update operations.delivery_sources as sources set last_received_at = clock_timestamp()
    where sources.source = new_source and sources.last_received_at < clock_timestamp() - interval '1 second';
    if not found and new_reason is null then
        insert into operations.delivery_sources (source) values (new_source) on conflict (source) do nothing;
    end if;
end
$$;

revoke all on function operations.accept_delivery(
    text, text, text, text, jsonb, text, text, text, timestamptz, text, text
) from public;
grant execute on function operations.accept_delivery(
    text, text, text, text, jsonb, text, text, text, timestamptz, text, text
) to pipeline_worker, pipeline_intake;
