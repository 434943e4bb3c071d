-- Records that a person is to be erased or anonymised, and does so in PostgreSQL at once; the lake and the warehouse
-- follow when a worker completes the request. Asked again while that is open, it is the same request, due at once.
create or replace function events.request_erasure(
    erased_user text, erasure_mode text, actor text, request_id text default null
)
returns uuid
language plpgsql
security definer
set search_path = pg_catalog
as $$
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

revoke all on function events.request_erasure(text, text, text, text) from public;
grant execute on function events.request_erasure(text, text, text, text) to pipeline_worker, pipeline_intake;
