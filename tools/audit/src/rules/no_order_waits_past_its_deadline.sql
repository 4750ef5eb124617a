-- The watcher looks every second at the latest; ten seconds are for a busy machine.
select id::text as about, format('pending, %s after its deadline', date_trunc('second', now() - deadline_at)) as fault
from orders
where status = 'pending' and deadline_at < now() - interval '10 seconds'
order by deadline_at
