-- A UUIDv7 (RFC 9562) of the given instant. PostgreSQL has its own only from version 18 on.
create or replace function events.time_ordered_id(instant timestamptz default clock_timestamp())
returns uuid
language sql volatile parallel safe
set search_path = pg_catalog
as $$
    select encode(
        set_byte(
            overlay(
                uuid_send(gen_random_uuid())
                placing substring(int8send(floor(extract(epoch from instant) * 1000)::bigint) from 3)
                from 1 for 6
            ),
            6,
            (get_byte(uuid_send(gen_random_uuid()), 6) & 15) | 112
        ),
        'hex'
    )::uuid
$$;
