insert into orders (id, customer_id, customer_email, lines, total_minor, currency, payment_method, placed_at, deadline_at,
    latest_deadline_at, capture_deadline_at, status, stock, payment, consumed, version)
select id, 'past-' || number % 1000, 'past@example.com',
    jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1,
        'unit_price', jsonb_build_object('amount_minor', 1000, 'currency', 'EUR'))),
    1000, 'EUR', 'pm_card_visa', at, at + interval '30 seconds',
    at + interval '10 minutes', at + interval '24 hours', 'completed', 'reserved', 'captured',
    '[["stock.reserved", 1], ["payment.authorized", 2], ["payment.captured", 4]]', 6
from past;

insert into order_events (order_id, version, aggregate_version, direction, event_id, type, schema_version, data,
    occurred_at, recorded_at)
select id, version, aggregate_version, direction, case direction when 'consumed' then pg_temp.past_id(at, number, version::integer) end, type,
    1, jsonb_build_object('type', type, 'data', jsonb_build_object('order_id', id, 'payment_id', id,
        'amount', jsonb_build_object('amount_minor', 1000, 'currency', 'EUR'),
        'lines', jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1)))),
    at, at
from past, (values
    (1::bigint, 1::bigint, 'published', 'order.placed'),
    (2, 1, 'consumed', 'stock.reserved'),
    (3, 2, 'consumed', 'payment.authorized'),
    (4, 4, 'published', 'order.confirmed'),
    (5, 4, 'consumed', 'payment.captured'),
    (6, 6, 'published', 'order.completed')
) as fact (version, aggregate_version, direction, type);

insert into messaging.inbox (event_id)
select pg_temp.past_id(at, number, version) from past, (values (2), (3), (5)) as consumed (version);
