-- Roles, schemas and the operational tables that every domain shares.
-- Roles are cluster-wide: another database of the same server may have made them already.

do $$
declare
    role_name text;
begin
    foreach role_name in array array['pipeline_owner', 'pipeline_reader'] loop
        if not exists (select 1 from pg_roles where rolname = role_name) then
            execute format('create role %I nologin', role_name);
        end if;
    end loop;
    foreach role_name in array array['pipeline_worker', 'pipeline_intake', 'dagster'] loop
        if not exists (select 1 from pg_roles where rolname = role_name) then
            execute format('create role %I login nobypassrls', role_name);
        end if;
    end loop;
exception
    when duplicate_object or unique_violation then null;
end
$$;

create schema if not exists market;
create schema if not exists operations;

grant usage on schema market, operations to pipeline_worker, pipeline_reader;
alter default privileges in schema market
grant select, insert, update, delete on tables to pipeline_worker;
alter default privileges in schema market grant select on tables to pipeline_reader;
alter default privileges in schema operations
grant select, insert, update, delete on tables to pipeline_worker;
alter default privileges in schema operations grant usage, select on sequences to pipeline_worker;
alter default privileges in schema operations grant select on tables to pipeline_reader;

do $$
begin
    execute format(
        'alter database %I set search_path = market, operations, public', current_database()
    );
end
$$;

create table operations.rejects (
    reject_id bigint generated always as identity primary key,
    source text not null,
    reason text not null,
    payload jsonb not null,
    payload_digest text not null,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    seen_count integer not null default 1 check (seen_count >= 1),
    unique (source, payload_digest)
);
comment on table operations.rejects is
'One row per bad row per source: what it was and why it was refused. Seen again, it is counted, not repeated.';

create index rejects_last_seen on operations.rejects (last_seen_at);

create table operations.circuit_breakers (
    name text primary key,
    state text not null default 'closed' check (state in ('closed', 'open', 'half_open')),
    failure_count integer not null default 0 check (failure_count >= 0),
    opened_at timestamptz,
    retry_at timestamptz,
    changed_at timestamptz not null default now(),
    check ((state = 'closed') = (retry_at is null))
);
comment on table operations.circuit_breakers is
'One row per outside source: closed calls go through, open they do not, half_open one probe does until retry_at.';

grant select on operations.schema_migrations to pipeline_worker, pipeline_reader;
revoke insert, update, delete on operations.schema_migrations from pipeline_worker;
