-- The watcher looks every second at the latest, and waits up to 3 s to tell whether an outage has begun; ten seconds are
-- for a busy machine. An outage of our own postpones deadline_at, but never past latest_deadline_at.
with open as (
    select id, status, case status when 'pending' then least(deadline_at, latest_deadline_at) when 'confirmed' then capture_deadline_at end as deadline
    from orders where status in ('pending', 'confirmed')
)
select id::text as about, format('%s, %s after its deadline', status, date_trunc('second', now() - deadline)) as fault
from open
where deadline < now() - interval '10 seconds'
order by deadline
