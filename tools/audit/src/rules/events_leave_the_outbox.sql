select event_id::text as about, format('%s has waited for %s', routing_key, date_trunc('second', now() - created_at)) as fault
from messaging.outbox
where created_at < now() - interval '60 seconds'
order by id
