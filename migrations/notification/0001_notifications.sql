-- The mails about orders, each written before it is sent.

create table order_notifications (
    order_id uuid primary key,
    -- The mail address; unknown until order.confirmed or order.cancelled is consumed.
    contact text,
    -- The number of changes; also the aggregate version of the events that each published.
    version bigint not null default 0
        constraint order_notifications_version_counts_up check (version >= 0)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);

create table notifications (
    -- The id of the event that made it; also of the job that sends it and, with our domain, the mail's Message-ID.
    id uuid primary key,
    order_id uuid not null references order_notifications,
    kind text not null
        constraint notification_kind_is_known check (kind in ('confirmed', 'cancelled', 'refunded')),
    -- The aggregate version of the event that made it: an order may be refunded more than once.
    aggregate_version bigint not null,
    status text not null
        constraint notification_status_is_known
            check (status in ('waiting', 'queued', 'sent', 'failed', 'dropped')),
    -- The mail's text, made when the event was consumed.
    body text not null,
    attempts integer not null default 0
        constraint notification_attempts_count_up check (attempts >= 0),
    -- Why the mail server last refused it.
    reason text,
    sent_at timestamptz,
    constraint one_notification_per_event unique (order_id, kind, aggregate_version),
    constraint only_a_refund_waits_for_the_cancel check (status <> 'waiting' or kind = 'refunded'),
    constraint only_a_confirmation_is_dropped check (status <> 'dropped' or kind = 'confirmed'),
    constraint what_is_sent_has_its_time check ((status = 'sent') = (sent_at is not null)),
    constraint what_failed_has_its_reason check (status <> 'failed' or reason is not null)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);
