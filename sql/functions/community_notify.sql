-- Puts something to be told into the outbox, planned as the person wants it; true if its key is new.
create or replace function community.notify(
    key text, person text, about text, details jsonb, at timestamptz default clock_timestamp()
)
returns boolean
language plpgsql
set search_path = pg_catalog
as $$
declare
    wanted community.notification_preferences;
    is_wanted boolean;
begin
    -- whoever changes them at the same time waits, and then plans this row too
    select * into wanted from community.notification_preferences where person_id = person for share;
    is_wanted := coalesce(wanted.has_target and not wanted.is_muted and wanted.kinds ? about, false);

    insert into community.notifications (idempotency_key, person_id, kind, payload, created_at, due_at, digest)
    values (
        key, person, about, details, at,
        case when is_wanted then community.notification_due_at(wanted.digest, at) end,
        coalesce(wanted.digest, 'none')
    )
    on conflict (idempotency_key) do nothing;
    return found;
end
$$;

revoke all on function community.notify(text, text, text, jsonb, timestamptz) from public;
grant execute on function community.notify(text, text, text, jsonb, timestamptz) to pipeline_worker;
