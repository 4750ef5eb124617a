insert into orders (id, customer_id, customer_email, lines, total_minor, currency, payment_method, placed_at, deadline_at,
    status, stock, payment, heard, version)
select id, 'past-' || number % 1000, 'past@example.com',
    jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1,
        'unit_price', jsonb_build_object('amount_minor', 1000, 'currency', 'EUR'))),
    1000, 'EUR', 'pm_card_visa', at, at + interval '30 seconds', 'completed', 'reserved', 'captured',
    '["payment.authorized", "payment.captured", "stock.reserved"]', 6
from past;

insert into order_events (order_id, version, direction, event_id, type, schema_version, data,
    occurred_at, recorded_at)
select id, version, direction, case direction when 'heard' then pg_temp.past_id(at, number, version::integer) end, type,
    1, jsonb_build_object('type', type, 'data', jsonb_build_object('order_id', id, 'payment_id', id,
        'amount', jsonb_build_object('amount_minor', 1000, 'currency', 'EUR'),
        'lines', jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1)))),
    at, at
from past, (values
    (1::bigint, 'announced', 'order.placed'),
    (2, 'heard', 'stock.reserved'),
    (3, 'heard', 'payment.authorized'),
    (4, 'announced', 'order.confirmed'),
    (5, 'heard', 'payment.captured'),
    (6, 'announced', 'order.completed')
) as fact (version, direction, type);

insert into messaging.inbox (event_id)
select pg_temp.past_id(at, number, version) from past, (values (2), (3), (5)) as heard (version);
