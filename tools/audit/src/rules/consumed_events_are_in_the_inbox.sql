-- The inbox forgets after seven days, so only the last six are checked.
select order_id::text as about, format('consumed %s (%s), which is not in the inbox', type, event_id) as fault
from order_events
where direction = 'consumed' and recorded_at > now() - interval '6 days'
    and not exists (select from messaging.inbox where inbox.event_id = order_events.event_id)
order by order_id
