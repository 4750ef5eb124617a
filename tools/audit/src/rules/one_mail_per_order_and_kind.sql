select order_id::text as about, format('%s notifications of the kind %s', count(*), kind) as fault
from notifications
group by order_id, kind having count(*) > 1
order by order_id
