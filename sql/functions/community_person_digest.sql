-- How the audit log names a person: the SHA-256 of their id in hexadecimals, which proves and does not tell who it is.
create or replace function community.person_digest(person text)
returns text
language sql
immutable
strict
set search_path = pg_catalog
return encode(sha256(convert_to(person, 'UTF8')), 'hex');

revoke all on function community.person_digest(text) from public;
grant execute on function community.person_digest(text) to pipeline_worker;
