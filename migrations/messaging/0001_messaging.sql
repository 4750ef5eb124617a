-- What the messaging crate keeps in the database of every service, next to the service's own tables.

create schema if not exists messaging;

-- Events that are committed and not yet confirmed by the broker. Short-lived rows: a relay deletes them.
create table messaging.outbox (
    id bigint generated always as identity primary key,
    event_id uuid not null,
    routing_key text not null,
    -- What it is about. The events of one subject are published in the order of their ids.
    subject text not null,
    body text not null,
    created_at timestamptz not null default now(),
    -- Of an event that the broker did not take: how often, what it said, and when it is published again. Until then the
    -- later events of its subject wait behind it.
    attempts integer not null default 0 constraint attempts_not_negative check (attempts >= 0),
    reason text,
    held_until timestamptz
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000
);

create index outbox_held on messaging.outbox (subject, id) where held_until is not null;

-- The ids of messages in effect. A UUIDv7 tells its own time, so rows are pruned by a range of ids.
create table messaging.inbox (
    event_id uuid primary key
) with (autovacuum_vacuum_insert_scale_factor = 0.05);

-- Work that talks to the outside. Claiming a job moves run_at past the lease: a worker that dies gives it back.
create table messaging.jobs (
    id uuid primary key,
    -- The order in which jobs were written; those of one key run in it.
    number bigint generated always as identity,
    queue text not null,
    key uuid not null,
    -- What else its call depends on, such as a payment method: each lane of a queue has a breaker.
    lane text not null default '',
    payload jsonb not null,
    cause uuid,
    traceparent text,
    tracestate text,
    attempts integer not null default 0 constraint attempts_not_negative check (attempts >= 0),
    run_at timestamptz not null default now(),
    last_error text,
    created_at timestamptz not null default now(),
    -- Set when no call can settle the job: it waits for an operator.
    parked_at timestamptz,
    -- What an operator says became of it; its worker records it instead of a call.
    resolution jsonb
) with (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000
);

-- What is claimed: jobs that were never tried come before those that are tried again.
create index jobs_fresh on messaging.jobs (queue, run_at) where attempts = 0 and parked_at is null;
create index jobs_tried on messaging.jobs (queue, run_at) where attempts > 0 and parked_at is null;
create index jobs_in_order on messaging.jobs (queue, key, number);

-- What operators did with jobs.
create table messaging.job_actions (
    id uuid primary key,
    job_id uuid not null,
    queue text not null,
    key uuid not null,
    action text not null constraint action_known check (action in ('retry', 'resolve')),
    outcome text constraint only_a_resolve_has_an_outcome check ((action = 'resolve') = (outcome is not null)),
    reference text,
    reason text constraint a_resolve_has_a_reason check (action <> 'resolve' or reason is not null),
    requested_by text not null,
    requested_at timestamptz not null default now()
);

-- Where the reader of a stream goes on.
create table messaging.stream_offsets (
    stream text primary key,
    next_offset bigint not null constraint next_offset_not_negative check (next_offset >= 0)
);
