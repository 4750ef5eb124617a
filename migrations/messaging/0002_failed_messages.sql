-- Messages that failed. One with a due time is tried again then; one without is a dead letter.
create table messaging.failed_messages (
    id uuid primary key,
    -- The queue or the stream that it came from.
    source text not null,
    -- A digest of it: a message that comes again is one row.
    key bytea not null,
    message_id text,
    content_type text,
    headers json not null,
    body bytea not null,
    class text not null constraint class_known check (class in ('garbage', 'not_for_this_build', 'failed')),
    attempts integer not null constraint attempts_not_negative check (attempts >= 0),
    -- Attempts in a row that began and did not end: the process died.
    unfinished integer not null default 0 constraint unfinished_not_negative check (unfinished >= 0),
    reason text not null,
    received_at timestamptz not null default now(),
    failed_at timestamptz not null default now(),
    due_at timestamptz,
    constraint one_row_a_message unique (source, key)
);

create index failed_messages_due on messaging.failed_messages (source, due_at) where due_at is not null;

-- What people did with dead letters, in the transaction that did it.
create table messaging.dead_letter_actions (
    id uuid primary key,
    dead_letter_id uuid not null,
    message_id text,
    event_type text,
    subject text,
    action text not null constraint action_known check (action in ('replay', 'discard')),
    reason text constraint discard_has_a_reason check (action <> 'discard' or reason is not null),
    requested_by text not null,
    requested_at timestamptz not null default now()
);
