-- Says that the condition of the open alert of `cleared_key` is over; true if it was not known to be. It is resolved
-- when it has stayed so for a while (operations.claim_notices): what comes and goes is not announced each time.
create or replace function operations.clear_alert(cleared_key text, at timestamptz default clock_timestamp())
returns boolean
language plpgsql
set search_path = pg_catalog
as $$
begin
    update operations.alerts
    set cleared_at = at
    where alert_key = cleared_key and resolved_at is null and cleared_at is null;
    return found;
end
$$;

revoke all on function operations.clear_alert(text, timestamptz) from public;
grant execute on function operations.clear_alert(text, timestamptz) to pipeline_worker;
