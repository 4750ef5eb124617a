select order_id::text as about, format('%s was posted %s times to %s', posting, count(*), account) as fault
from ledger_entries
group by order_id, posting, account having count(*) > 1
order by order_id
