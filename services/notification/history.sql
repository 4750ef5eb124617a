insert into order_notifications (order_id, contact, version) select id, 'past@example.com', 2 from past;

insert into notifications (id, order_id, kind, aggregate_version, status, body, attempts, sent_at)
select pg_temp.past_id(at, number, 200), id, 'confirmed', 4, 'sent',
    format(E'Your order %s is confirmed.\n\n  1 x %s\n\nTotal: 10.00 EUR\n\nThank you!\n', id, sku), 1, at
from past;

insert into messaging.inbox (event_id) select pg_temp.past_id(at, number, 4) from past;
