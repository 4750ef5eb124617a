-- The inbox forgets after seven days, so only the last six are asked for.
select order_id::text as about, format('heard %s (%s), which is not in the inbox', type, event_id) as fault
from order_events
where direction = 'heard' and recorded_at > now() - interval '6 days'
    and not exists (select from messaging.inbox where inbox.event_id = order_events.event_id)
order by order_id
