select order_id::text as about, format('%s notifications of the kind %s', count(*), kind) as fault
from notifications
-- An order may be refunded more than once, each time by another event.
group by order_id, kind, case kind when 'refunded' then aggregate_version end having count(*) > 1
order by order_id
