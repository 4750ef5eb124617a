-- What the shop has done so far: the facts of each order, and the counts that follow from them.
-- There is one writer at a time, the reader of the stream.

create table orders (
    order_id uuid primary key,
    placed_at timestamptz,
    confirmed_at timestamptz,
    completed_at timestamptz,
    cancelled_at timestamptz,
    cancel_reason text,
    -- Each capture and each refund by the aggregate version of its event: {"4": {"amount_minor": 1200, "currency": "EUR"}}.
    captures jsonb not null default '{}',
    refunds jsonb not null default '{}',
    -- Each mail by the id of its notification: whether it was sent.
    mails jsonb not null default '{}',
    constraint what_is_cancelled_has_its_reason check ((cancelled_at is null) = (cancel_reason is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- The counts are kept by deltas in the transaction that changes the facts, so that the cost of the
-- summary does not grow with history.

create table order_counts (
    status text not null,
    cancel_reason text,
    orders bigint not null
        constraint orders_in_a_status_are_not_negative check (orders >= 0),
    constraint one_count_per_status_and_reason unique nulls not distinct (status, cancel_reason),
    constraint only_the_cancelled_have_a_reason check ((status = 'cancelled') = (cancel_reason is not null))
) with (fillfactor = 50);

create table revenue (
    currency text primary key,
    captured_minor bigint not null,
    refunded_minor bigint not null
) with (fillfactor = 50);

-- What needs no key, and how far the counts are.
create table totals (
    only_row boolean primary key default true
        constraint totals_are_one_row check (only_row),
    mails_sent bigint not null default 0,
    mails_failed bigint not null default 0,
    events bigint not null default 0,
    newest_event_at timestamptz
) with (fillfactor = 50);

insert into totals default values;
