-- The http-api crate's own schema, in the database of each service whose API takes an Idempotency-Key.

create schema if not exists http_api;

-- The first 2xx response under each Idempotency-Key.
create table http_api.idempotency_keys (
    key text primary key,
    fingerprint bytea not null,
    status smallint,
    location text,
    body bytea,
    created_at timestamptz not null default now()
);

create index idempotency_keys_age on http_api.idempotency_keys (created_at);
