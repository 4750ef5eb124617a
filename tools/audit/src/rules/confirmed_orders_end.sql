-- A capture takes seconds; ten minutes are for a card processor that is unavailable for a while.
select id::text as about, format('confirmed %s ago, and neither completed nor cancelled', date_trunc('second', now() - occurred_at)) as fault
from orders join order_events on order_id = id and type = 'order.confirmed'
where status = 'confirmed' and occurred_at < now() - interval '10 minutes'
order by occurred_at
