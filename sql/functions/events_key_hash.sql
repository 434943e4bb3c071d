-- The hash under which events.event_keys knows an idempotency key: the first 16 bytes of its SHA-256, as storage/event_entries.py
-- makes it.
create or replace function events.key_hash(idempotency_key text)
returns uuid
language sql immutable parallel safe strict
set search_path = pg_catalog
as $$
    select encode(substring(sha256(convert_to(idempotency_key, 'UTF8')) from 1 for 16), 'hex')::uuid
$$;
