-- Only a refund may be one of several, of a part each.
select order_id::text as about, format('%s %s was posted %s times to %s', posting, number, count(*), account) as fault
from ledger_entries
group by order_id, posting, number, account having count(*) > 1 or posting <> 'refunded' and number > 1
order by order_id
