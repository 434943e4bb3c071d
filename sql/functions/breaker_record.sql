-- Tells the breaker how a call ended: success closes it; `threshold` failures in a row, or a failed probe, open it.
create or replace function operations.breaker_record(
    breaker_name text, succeeded boolean, threshold integer, pause interval
)
returns void
language plpgsql
set search_path = operations, pg_temp
as $$
begin
    if succeeded then
        update operations.circuit_breakers
        set state = 'closed', failure_count = 0, opened_at = null, retry_at = null, changed_at = clock_timestamp()
        where name = breaker_name and (state <> 'closed' or failure_count > 0);
        return;
    end if;
    insert into operations.circuit_breakers as breaker (name, failure_count)
    values (breaker_name, 1)
    on conflict (name) do update set failure_count = breaker.failure_count + 1;
    update operations.circuit_breakers
    set state = 'open', opened_at = coalesce(opened_at, clock_timestamp()),
        retry_at = clock_timestamp() + pause, changed_at = clock_timestamp()
    where name = breaker_name and (state = 'half_open' or (state = 'closed' and failure_count >= threshold));
end
$$;
