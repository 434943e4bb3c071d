-- Says what the person of this session (app.user_id) wants to be told, and plans anew what was not tried yet. Runs as its
-- owner: the HTTP process writes a target that it cannot read.
create or replace function community.set_notification_preferences(
    keeps_target boolean,
    new_target text,
    new_kinds jsonb,
    new_digest text,
    muted boolean,
    at timestamptz default clock_timestamp()
)
returns void
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    person constant text := nullif(current_setting('app.user_id', true), '');
    is_told boolean;
begin
    if person is null then
        raise insufficient_privilege using message = 'app.user_id names nobody';
    end if;
    insert into community.notification_preferences as known (person_id, target, kinds, digest, is_muted, updated_at)
    values (person, new_target, new_kinds, new_digest, muted, at)
    on conflict (person_id) do update set
        target = case when keeps_target then known.target else excluded.target end,
        kinds = excluded.kinds,
        digest = excluded.digest,
        is_muted = excluded.is_muted,
        updated_at = excluded.updated_at
    returning has_target and not known.is_muted into is_told;

    update community.notifications set
        due_at = case when is_told and new_kinds ? kind then community.notification_due_at(new_digest, created_at) end,
        digest = new_digest
    where person_id = person and due_at is not null and attempts = 0;
    update community.notifications set
        due_at = null,
        lease_until = null
    where
        person_id = person and due_at is not null
        and not (is_told and (new_kinds ? kind or batch_id is not null));  -- a batch that was tried stays as it is
end
$$;

revoke all on function community.set_notification_preferences(boolean, text, jsonb, text, boolean, timestamptz)
from public;
grant execute on function community.set_notification_preferences(boolean, text, jsonb, text, boolean, timestamptz)
to pipeline_intake;
