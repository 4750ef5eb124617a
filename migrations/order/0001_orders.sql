-- The order service's own tables: the price list, the orders, and the event log that the orders are projected from.

create table prices (
    sku          text   primary key,
    -- Null once the product is delisted: the row stays as a tombstone, which keeps the version.
    name         text,
    amount_minor bigint,
    currency     text,
    -- The version of the product that says so: an older one never overwrites a newer one.
    aggregate_version bigint not null,
    constraint a_price_is_whole_or_a_tombstone check (num_nulls(name, amount_minor, currency) in (0, 3)),
    constraint price_is_not_negative check (amount_minor >= 0),
    constraint currency_has_three_letters check (currency ~ '^[A-Z]{3}$')
);

-- A projection of order_events: replaying the log gives the same row.
create table orders (
    id             uuid        primary key,
    customer_id    text        not null,
    customer_email text        not null,
    lines          jsonb       not null,
    total_minor    bigint      not null,
    currency       text        not null,
    payment_method text        not null,
    placed_at      timestamptz not null,
    -- When it is cancelled if it is still pending; an outage of our own postpones it, up to the latest.
    deadline_at    timestamptz not null,
    latest_deadline_at  timestamptz not null,
    -- When it is cancelled if it is still confirmed.
    capture_deadline_at timestamptz not null,
    status         text        not null,
    reason         text,
    stock          text        not null,
    payment        text        not null,
    refunded_minor bigint      not null default 0,
    -- The events consumed, each with its aggregate version, as in [["payment.refunded", 4]]: tells a repeat.
    consumed       jsonb       not null,
    version        bigint      not null,
    constraint total_is_not_negative check (total_minor >= 0),
    constraint refunded_is_not_negative check (refunded_minor >= 0),
    constraint deadline_is_after_placing check (deadline_at > placed_at),
    constraint deadline_is_not_after_the_latest check (deadline_at <= latest_deadline_at),
    constraint capture_deadline_is_not_before_the_decision check (capture_deadline_at >= deadline_at),
    constraint status_is_known check (status in ('pending', 'confirmed', 'completed', 'cancelled')),
    constraint reason_is_known check (reason in
        ('out_of_stock', 'payment_declined', 'timed_out', 'customer_request', 'payment_failed')),
    constraint stock_is_known check (stock in ('open', 'reserved', 'rejected', 'released')),
    constraint payment_is_known check (payment in
        ('open', 'authorized', 'captured', 'capture_failed', 'declined', 'voided', 'refunded')),
    constraint a_cancelled_order_and_no_other_has_a_reason check ((status = 'cancelled') = (reason is not null)),
    constraint a_confirmed_order_has_stock_and_money
        check (status <> 'confirmed' or (stock = 'reserved' and payment = 'authorized')),
    constraint a_completed_order_has_stock_and_is_paid
        check (status <> 'completed' or (stock = 'reserved' and payment = 'captured')),
    constraint version_counts_from_one check (version >= 1)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- What the deadline watcher claims, and what admission control counts as pending.
create index orders_pending_deadline on orders (deadline_at, id) where status = 'pending';
create index orders_confirmed_deadline on orders (capture_deadline_at) where status = 'confirmed';
-- The four ways to list, newest first.
create index orders_newest on orders (placed_at desc, id desc);
create index orders_newest_by_status on orders (status, placed_at desc, id desc);
create index orders_newest_by_customer on orders (customer_id, placed_at desc, id desc);
create index orders_newest_by_customer_and_status on orders (customer_id, status, placed_at desc, id desc);

-- When messages flowed: this service's events left it, and it consumed. One row, by the clock of the database. Every
-- replica writes it while they do, so a gap is an outage of all of them.
create table message_flow (
    is_only_row boolean     primary key default true,
    since       timestamptz not null,
    seen_at     timestamptz not null,
    constraint only_one_row check (is_only_row)
) with (fillfactor = 10);

-- They never flowed.
insert into message_flow (since, seen_at) values (to_timestamp(0), to_timestamp(0));

-- Every event that was published or consumed about an order, in the order in which it was recorded.
create table order_events (
    order_id          uuid        not null references orders (id),
    version           bigint      not null,
    -- The version of the aggregate that published the event.
    aggregate_version bigint      not null,
    direction         text        not null,
    -- The envelope's id of a consumed event. What we publish is told by its version.
    event_id          uuid,
    -- The event's name, without its version.
    type              text        not null,
    -- The version of the data's shape.
    schema_version    integer     not null,
    data              jsonb       not null,
    occurred_at       timestamptz not null,
    recorded_at       timestamptz not null,
    primary key (order_id, version),
    constraint direction_is_published_or_consumed check (direction in ('published', 'consumed')),
    constraint a_consumed_event_has_its_id check ((direction = 'consumed') = (event_id is not null)),
    constraint a_published_event_has_the_orders_version
        check (direction = 'consumed' or aggregate_version = version)
) with (autovacuum_vacuum_insert_scale_factor = 0.05);

create function refuse_to_change_the_log() returns trigger language plpgsql as $$
begin
    raise exception 'order_events is append-only: % refused', lower(tg_op);
end
$$;

create trigger order_events_is_append_only before update or delete or truncate on order_events
    for each statement execute function refuse_to_change_the_log();
