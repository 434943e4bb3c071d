-- May a call to `breaker_name` go out? NULL says yes; otherwise the instant at which to try again.
-- Of many callers that meet a breaker whose pause is over, one becomes the probe; if it dies, the next may probe
-- after `probe_lease`.
create or replace function operations.breaker_before_call(breaker_name text, probe_lease interval)
returns timestamptz
language plpgsql
set search_path = operations, pg_temp
as $$
declare
    refused_until timestamptz;
begin
    update operations.circuit_breakers
    set state = 'half_open', retry_at = clock_timestamp() + probe_lease, changed_at = clock_timestamp()
    where name = breaker_name and state <> 'closed' and retry_at <= clock_timestamp();
    if found then
        return null;
    end if;
    select retry_at into refused_until
    from operations.circuit_breakers
    where name = breaker_name and state <> 'closed';
    return refused_until;
end
$$;
