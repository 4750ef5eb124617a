insert into orders (id, customer_id, customer_email, lines, total_minor, currency, payment_method, placed_at, deadline_at,
    status, stock, payment, heard, version)
select id, 'past-' || number % 1000, 'past@example.com',
    jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1,
        'unit_price', jsonb_build_object('amount_minor', 1000, 'currency', 'EUR'))),
    1000, 'EUR', 'pm_card_visa', at, at + interval '30 seconds', 'completed', 'reserved', 'captured',
    '["payment.authorized.v1", "payment.captured.v1", "stock.reserved.v1"]', 6
from past;

insert into order_events (order_id, version, direction, event_id, type, data, occurred_at, recorded_at)
select id, version, direction, case direction when 'heard' then pg_temp.past_id(at, number, version::integer) end, type,
    jsonb_build_object('type', type, 'data', jsonb_build_object('order_id', id, 'payment_id', id,
        'amount', jsonb_build_object('amount_minor', 1000, 'currency', 'EUR'),
        'lines', jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1)))),
    at, at
from past, (values
    (1::bigint, 'announced', 'order.placed.v1'),
    (2, 'heard', 'stock.reserved.v1'),
    (3, 'heard', 'payment.authorized.v1'),
    (4, 'announced', 'order.confirmed.v1'),
    (5, 'heard', 'payment.captured.v1'),
    (6, 'announced', 'order.completed.v1')
) as fact (version, direction, type);

insert into messaging.inbox (event_id)
select pg_temp.past_id(at, number, version) from past, (values (2), (3), (5)) as heard (version);
