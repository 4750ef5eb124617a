//! Corruptions of the data, as a faulty service would leave them.

use system::Service::{self, Analytics, Inventory, Notification, Order, Payment};

/// A corruption, and the rules that it breaks, in the order of the rules.
pub(super) struct Corruption {
    /// What a faulty service did.
    pub(super) fault: &'static str,
    /// In whose database.
    pub(super) service: Service,
    /// The statements that inject it.
    pub(super) sql: &'static str,
    /// The names of the rules.
    pub(super) breaks: &'static [&'static str],
}

const fn corruption(
    service: Service,
    fault: &'static str,
    sql: &'static str,
    breaks: &'static [&'static str],
) -> Corruption {
    Corruption { fault, service, sql, breaks }
}

pub(super) const CORRUPTIONS: &[Corruption] = &[
    corruption(
        Inventory,
        "more is reserved than there is",
        "alter table stock drop constraint reserved_is_between_zero_and_on_hand;
         update stock set reserved = on_hand + 1",
        &["stock stays in its bounds", "stock matches its ledger", "reserved stock is held by orders"],
    ),
    corruption(
        Inventory,
        "stock appeared without a movement",
        "update stock set on_hand = on_hand + 1",
        &["stock matches its ledger"],
    ),
    corruption(
        Inventory,
        "what was sold left without a movement",
        "delete from stock_movements where kind = 'committed' and on_hand_delta = -2",
        &["stock matches its ledger", "a reservation matches its movements", "stock sold was ordered"],
    ),
    corruption(
        Inventory,
        "what was sold was put back as well",
        "insert into stock_movements (sku, kind, order_id, on_hand_delta, reserved_delta)
         select sku, 'returned', order_id, 2, 0 from stock_movements where kind = 'committed' and on_hand_delta = -2;
         update stock set on_hand = on_hand + 2",
        &["a reservation matches its movements", "stock sold was ordered"],
    ),
    corruption(
        Inventory,
        "a cancelled order keeps its stock",
        "update reservations set status = 'reserved'
             where order_id = (select min(order_id) from stock_movements where kind = 'released');
         delete from stock_movements where kind = 'released'
             and order_id = (select min(order_id) from stock_movements where kind = 'released');
         update stock set reserved = reserved + 1",
        &["each order has its stock"],
    ),
    corruption(
        Inventory,
        "a release forgot the level",
        "update stock set reserved = reserved + 1",
        &["stock matches its ledger", "reserved stock is held by orders"],
    ),
    corruption(
        Inventory,
        "an order was never seen",
        "delete from reservations where status = 'rejected'",
        &["each order has its stock"],
    ),
    corruption(
        Payment,
        "half of a posting was written",
        "delete from ledger_entries where id = (select min(id) from ledger_entries
             where posting = 'captured' and account = 'captured_funds')",
        &[
            "money balances",
            "a payment matches its postings",
            "the ledger matches the processor",
            "the summary matches a recount",
        ],
    ),
    corruption(
        Payment,
        "a capture was posted twice",
        "alter table ledger_entries drop constraint a_posting_is_made_once;
         insert into ledger_entries (order_id, posting, account, amount_minor, currency, at)
         select order_id, posting, account, amount_minor, currency, at from ledger_entries
         where posting = 'captured' and order_id = (select min(order_id) from ledger_entries where posting = 'captured')",
        &[
            "money moves once",
            "a payment matches its postings",
            "the ledger matches the processor",
            "the summary matches a recount",
        ],
    ),
    corruption(
        Payment,
        "the money of a completed order was given back",
        "insert into ledger_entries (order_id, posting, account, amount_minor, currency, at)
         select order_id, 'refunded', replace(account, 'authorized_holds', 'customer'), -amount_minor, currency, at
         from ledger_entries where posting = 'captured' and account = 'authorized_holds'
             and order_id = (select min(order_id) from ledger_entries where posting = 'captured')
         union all
         select order_id, 'refunded', 'refunds', -amount_minor, currency, at
         from ledger_entries where posting = 'captured' and account = 'captured_funds'
             and order_id = (select min(order_id) from ledger_entries where posting = 'captured')",
        &[
            "a payment matches its postings",
            "no capture without an order",
            "the ledger matches the processor",
            "the summary matches a recount",
        ],
    ),
    corruption(
        Payment,
        "a payment says captured, and nothing was taken",
        "update payments set status = 'captured', authorization_id = 'none' where status = 'declined'",
        &["a payment matches its postings", "each order has its money"],
    ),
    corruption(
        Payment,
        "less was taken than the order costs",
        "update payments set amount_minor = 1, captured_minor = 1 where status = 'captured'",
        &["a payment matches its postings", "each order has its money"],
    ),
    corruption(
        Payment,
        "a refund of a part was noted, and not posted",
        "update payments set refunded_minor = 1, refunds = 1 where status = 'captured'",
        &["a payment matches its postings"],
    ),
    corruption(
        Order,
        "a refund of a part was noted, and none was consumed",
        "update orders set refunded_minor = 1 where status = 'completed'",
        &["an order matches its event log"],
    ),
    corruption(
        Payment,
        "money was taken for an order that nobody placed",
        "update payments set order_id = gen_random_uuid() where order_id =
             (select min(order_id) from payments where status = 'captured');
         update ledger_entries set order_id = (select order_id from payments
             where order_id not in (select order_id from ledger_entries) and status = 'captured')
         where order_id not in (select order_id from payments)",
        &["each order has its money", "no capture without an order", "the ledger matches the processor"],
    ),
    corruption(
        Order,
        "nobody watches the deadlines",
        "delete from order_events where version > 1 and order_id = (select min(id) from orders);
         update orders set status = 'pending', reason = null, stock = 'open', payment = 'open', version = 1,
             deadline_at = now() - interval '1 minute', placed_at = now() - interval '2 minutes'
         where id = (select min(id) from orders)",
        &["no order waits past its deadline"],
    ),
    corruption(
        Order,
        "an outage postpones a deadline without end",
        "alter table orders drop constraint deadline_is_not_after_the_latest;
         delete from order_events where version > 1 and order_id = (select min(id) from orders);
         update orders set status = 'pending', reason = null, stock = 'open', payment = 'open', version = 1,
             deadline_at = now() + interval '1 hour', latest_deadline_at = now() - interval '1 minute'
         where id = (select min(id) from orders)",
        &["no order waits past its deadline"],
    ),
    corruption(
        Order,
        "nobody watches the deadlines of captures",
        "delete from order_events where type in ('payment.captured', 'order.completed')
             and order_id = (select min(id) from orders);
         update orders set status = 'confirmed', payment = 'authorized', version = version - 2,
             consumed = (select jsonb_agg(it) from jsonb_array_elements(consumed) as it where it ->> 0 <> 'payment.captured'),
             placed_at = placed_at - interval '1 day',
             deadline_at = deadline_at - interval '1 day', capture_deadline_at = now() - interval '1 minute'
         where id = (select min(id) from orders)",
        &["no order waits past its deadline"],
    ),
    corruption(
        Order,
        "the answer to a capture was lost",
        "delete from order_events where type in ('payment.captured', 'order.completed')
             and order_id = (select min(id) from orders);
         update order_events set occurred_at = occurred_at - interval '20 minutes'
             where order_id = (select min(id) from orders);
         update orders set status = 'confirmed', payment = 'authorized', version = version - 2,
             consumed = (select jsonb_agg(it) from jsonb_array_elements(consumed) as it where it ->> 0 <> 'payment.captured')
         where id = (select min(id) from orders)",
        &["confirmed orders end"],
    ),
    corruption(
        Payment,
        "no call settles a void, and nobody looks",
        "insert into messaging.jobs (id, queue, key, payload, attempts, parked_at, last_error)
         values (gen_random_uuid(), 'payment.calls', gen_random_uuid(), '{}', 3, now(), 'refused')",
        &["jobs end"],
    ),
    corruption(
        Notification,
        "a mail has been tried for hours",
        "insert into messaging.jobs (id, queue, key, payload, attempts, created_at)
         values (gen_random_uuid(), 'notification.mails', gen_random_uuid(), '{}', 3, now() - interval '2 hours')",
        &["jobs end"],
    ),
    corruption(
        Order,
        "a cancelled order never settles",
        "delete from order_events where type = 'stock.released';
         update orders set stock = 'reserved', version = version - 1 where stock = 'released';
         with renumbered as (
             select order_id, version, row_number() over (partition by order_id order by version) as number
             from order_events
         )
         update order_events as it set version = renumbered.number, occurred_at = occurred_at - interval '2 minutes'
         from renumbered where (it.order_id, it.version) = (renumbered.order_id, renumbered.version)",
        &["cancelled orders settle"],
    ),
    corruption(
        Order,
        "a row was changed past the log",
        "update orders set total_minor = total_minor + 1 where id = (select min(id) from orders)",
        &["an order matches its event log", "each order has its money"],
    ),
    corruption(
        Order,
        "a fact was not recorded",
        "delete from order_events where type = 'payment.captured'
             and order_id = (select min(order_id) from order_events where type = 'payment.captured')",
        &["an order matches its event log"],
    ),
    corruption(
        Order,
        "a completed order was cancelled",
        "insert into order_events (order_id, version, aggregate_version, direction, type, schema_version, data,
             occurred_at, recorded_at)
         select id, version + 1, version + 1, 'published', 'order.cancelled', 1, '{\"reason\": \"customer_request\"}', now(), now()
         from orders where id = (select min(id) from orders);
         update orders set status = 'cancelled', reason = 'customer_request', version = version + 1
         where id = (select min(id) from orders)",
        &["ended orders stay ended"],
    ),
    corruption(
        Order,
        "two keys were answered with one order",
        "insert into http_api.idempotency_keys (key, fingerprint, status, location, body)
         select key, '', 202, '/api/v1/orders/' || (select min(id::text) from orders), ''
         from unnest(array['one', 'another']) as key",
        &["a key creates one order"],
    ),
    corruption(
        Order,
        "a key was answered with an order that was rolled back",
        "insert into http_api.idempotency_keys (key, fingerprint, status, location, body)
         values ('one', '', 202, '/api/v1/orders/' || gen_random_uuid(), '')",
        &["a key creates one order"],
    ),
    corruption(
        Order,
        "the effect was committed without its inbox",
        "delete from messaging.inbox where event_id = (select min(event_id) from order_events)",
        &["consumed events are in the inbox"],
    ),
    corruption(
        Order,
        "an order was lost",
        "delete from order_events where order_id = (select min(id) from orders);
         delete from orders where id = (select min(id) from orders)",
        &[
            "a key creates one order",
            "each order has its stock",
            "stock sold was ordered",
            "each order has its money",
            "no capture without an order",
            "each order has its mails",
            "the summary matches a recount",
        ],
    ),
    corruption(
        Inventory,
        "the relay is dead",
        "insert into messaging.outbox (event_id, routing_key, subject, body, created_at)
         values (gen_random_uuid(), 'stock.released', '', '{}', now() - interval '2 minutes')",
        &["events leave the outbox"],
    ),
    corruption(
        Notification,
        "a customer was told twice",
        "alter table notifications drop constraint one_notification_per_event;
         insert into notifications (id, order_id, kind, aggregate_version, status, body, sent_at)
         select gen_random_uuid(), order_id, kind, aggregate_version, status, body, sent_at from notifications limit 1",
        &["one mail per order and kind", "each order has its mails", "the summary matches a recount"],
    ),
    corruption(
        Notification,
        "a customer was not told",
        "delete from notifications where id = (select id from notifications where kind = 'cancelled' limit 1)",
        &["each order has its mails", "the summary matches a recount"],
    ),
    corruption(
        Notification,
        "a customer was told of a refund that was none",
        "insert into notifications (id, order_id, kind, aggregate_version, status, body, sent_at)
         select gen_random_uuid(), order_id, 'refunded', 9, status, body, sent_at from notifications
         where kind = 'confirmed' and status = 'sent' limit 1",
        &["each order has its mails", "the summary matches a recount"],
    ),
    corruption(
        Analytics,
        "an event counted twice",
        "update order_counts set orders = orders + 1 where status = 'completed'",
        &["the summary matches its facts", "the summary matches a recount"],
    ),
    corruption(
        Analytics,
        "the reader skipped an event",
        "update orders set cancelled_at = null, cancel_reason = null where cancel_reason = 'out_of_stock';
         delete from order_counts where cancel_reason = 'out_of_stock';
         insert into order_counts (status, orders) values ('pending', 1)
         on conflict (status, cancel_reason) do update set orders = order_counts.orders + 1",
        &["the summary matches a recount"],
    ),
    corruption(
        Analytics,
        "an event of the log could not be applied",
        "insert into messaging.failed_messages (id, source, key, headers, body, class, attempts, reason)
         values (gen_random_uuid(), 'domain-events.log', '', '{}', '', 'garbage', 0, 'poison')",
        &["only expected dead letters"],
    ),
];
