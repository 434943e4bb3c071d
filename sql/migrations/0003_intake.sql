-- Who may call the HTTP intake, and what was asked of it.

create table operations.app_tokens (
    name text primary key check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    digest text not null unique check (digest ~ '^[0-9a-f]{64}$'),
    scopes text[] not null check (cardinality(scopes) > 0),
    created_at timestamptz not null default now(),
    expires_at timestamptz check (expires_at > created_at),
    revoked_at timestamptz
);
comment on table operations.app_tokens is
'One row per application token: the SHA-256 of the token, never the token; what it may do and until when.';

-- No key and no address: rows come in blocks, are counted and expire; nobody asks for a single one.
create table operations.api_requests (
    occurred_at timestamptz not null,
    request_id text not null,
    method text not null,
    path text not null,
    status smallint not null check (status between 100 and 599),
    duration_ms real not null check (duration_ms >= 0),
    request_bytes bigint not null check (request_bytes >= 0),
    response_bytes bigint not null check (response_bytes >= 0),
    caller text,
    cache_hit boolean,
    market text
);
comment on table operations.api_requests is
'One row per HTTP request, refused ones too: the path as its template, the caller by name, never an address.';

create index api_requests_occurred on operations.api_requests (occurred_at);

revoke select on operations.app_tokens from pipeline_reader;
grant usage on schema operations to pipeline_intake;
grant select on operations.app_tokens, operations.schema_migrations to pipeline_intake;
grant select, insert on operations.api_requests to pipeline_intake;
