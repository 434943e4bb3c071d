-- Gives up what was claimed `most` times without being settled: its senders died. Returns how many.
create or replace function community.bury_notifications(most integer, at timestamptz default clock_timestamp())
returns bigint
language plpgsql
set search_path = pg_catalog
as $$
declare
    buried bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('community.claim_notifications', 0));
    update community.notifications
    set due_at = null, lease_until = null, given_up_at = at, last_error = 'the sender died'
    where due_at <= at and attempts >= most and coalesce(lease_until <= at, true);
    get diagnostics buried = row_count;
    return buried;
end
$$;

revoke all on function community.bury_notifications(integer, timestamptz) from public;
grant execute on function community.bury_notifications(integer, timestamptz) to pipeline_worker;
