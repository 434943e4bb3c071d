-- Removes what was sent, given up or only to be read, created before `before`; returns how many. Of milestones the highest of
-- each person and metric stays: it says that a lower one is no news. Other keys are told of the last days only.
create or replace function community.remove_old_notifications(before timestamptz)
returns bigint
language plpgsql
set search_path = pg_catalog
as $$
declare
    removed bigint;
begin
    delete from community.notifications as old
    where
        old.created_at < before and old.due_at is null
        and (
            old.kind <> 'milestone'
            or exists (
                select from community.notifications as higher
                where
                    higher.person_id = old.person_id and higher.kind = 'milestone'
                    and higher.payload ->> 'metric' = old.payload ->> 'metric'
                    and (higher.payload ->> 'threshold')::bigint > (old.payload ->> 'threshold')::bigint
            )
        );
    get diagnostics removed = row_count;
    return removed;
end
$$;

revoke all on function community.remove_old_notifications(timestamptz) from public;
grant execute on function community.remove_old_notifications(timestamptz) to pipeline_worker;
