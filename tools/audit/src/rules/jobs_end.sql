-- A job that is parked ends by an operator only; one that nothing stops is tried at least every few minutes.
select id::text as about,
    case
        when parked_at is not null then format('%s about %s is parked since %s: %s', queue, key, date_trunc('second', parked_at), last_error)
        else format('%s about %s waits for %s: %s', queue, key, date_trunc('second', now() - created_at), coalesce(last_error, 'never tried'))
    end as fault
from messaging.jobs
where parked_at is not null or created_at < now() - interval '1 hour'
order by number
