-- The mails about orders. One row per order and kind, written before anything is sent.

create table order_notifications (
    order_id uuid primary key,
    -- The mail address; unknown until order.confirmed or order.cancelled is heard.
    contact text,
    -- Counts the recorded changes; the aggregate version of the events that a change announces.
    version bigint not null default 0
        constraint order_notifications_version_counts_up check (version >= 0)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);

create table notifications (
    -- Also the id of the job that sends it and, with our domain, the mail's Message-ID.
    id uuid primary key,
    order_id uuid not null references order_notifications,
    kind text not null
        constraint notification_kind_is_known check (kind in ('confirmed', 'cancelled', 'refunded')),
    status text not null
        constraint notification_status_is_known
            check (status in ('waiting', 'queued', 'sent', 'failed', 'dropped')),
    -- The mail's text, made when the event was heard.
    body text not null,
    attempts integer not null default 0
        constraint notification_attempts_count_up check (attempts >= 0),
    -- Why the mail server refused, the last time that it did.
    reason text,
    sent_at timestamptz,
    constraint one_notification_per_order_and_kind unique (order_id, kind),
    constraint only_a_refund_waits_for_the_contact check (status <> 'waiting' or kind = 'refunded'),
    constraint only_a_confirmation_is_dropped check (status <> 'dropped' or kind = 'confirmed'),
    constraint what_is_sent_has_its_time check ((status = 'sent') = (sent_at is not null)),
    constraint what_failed_has_its_reason check (status <> 'failed' or reason is not null)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);
