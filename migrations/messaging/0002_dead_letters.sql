-- What people do with dead letters, and how the reader of a stream is asked to try one again.

-- Written before an action is carried out, and marked when it is: one that is not marked may be in effect.
create table messaging.dead_letter_actions (
    id uuid primary key,
    dead_letter_id text not null,
    message_id text not null,
    event_type text,
    subject text,
    action text not null constraint action_known check (action in ('replay', 'discard')),
    reason text constraint discard_has_a_reason check (action <> 'discard' or reason is not null),
    requested_by text not null,
    requested_at timestamptz not null default now(),
    done_at timestamptz
);

-- The reader is behind the message already. It takes up what is requested here, in a transaction of its own.
alter table messaging.stream_dead_letters add column replay_requested_at timestamptz;

create index stream_dead_letters_requested on messaging.stream_dead_letters (stream, stream_offset)
    where replay_requested_at is not null;
