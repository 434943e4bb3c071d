-- Records what became of notifications that were claimed until `lease`: without a problem they are sent, with `retry_at`
-- they are due again then, else they are given up. Returns how many claims were still ours.
create or replace function community.settle_notifications(
    ids uuid[], lease timestamptz, problem text, retry_at timestamptz, at timestamptz default clock_timestamp()
)
returns bigint
language plpgsql
set search_path = pg_catalog
as $$
declare
    settled bigint;
begin
    update community.notifications set
        lease_until = null,
        due_at = case when problem is not null then retry_at end,
        sent_at = case when problem is null then at end,
        given_up_at = case when problem is not null and retry_at is null then at end,
        last_error = problem
    where id = any(ids) and lease_until = lease;
    get diagnostics settled = row_count;
    return settled;
end
$$;

revoke all on function community.settle_notifications(uuid[], timestamptz, text, timestamptz, timestamptz) from public;
grant execute on function community.settle_notifications(uuid[], timestamptz, text, timestamptz, timestamptz)
to pipeline_worker;
