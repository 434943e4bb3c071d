-- The secret of `wanted_day` under which client addresses are hashed, made by whoever asks first. Keys older than
-- yesterday's are removed: their hashes then mean nothing to anybody.
create or replace function events.ensure_address_key(wanted_day date)
returns void
language plpgsql
security definer
set search_path = pg_catalog
as $$
begin
    insert into events.address_keys (day, key)
    values (wanted_day, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    on conflict (day) do nothing;
    delete from events.address_keys where day < wanted_day - 1 and day < (now() at time zone 'UTC')::date - 1;
end
$$;

revoke all on function events.ensure_address_key(date) from public;
grant execute on function events.ensure_address_key(date) to pipeline_worker, pipeline_intake;
