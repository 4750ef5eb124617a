select currency as about, format('the ledger sums to %s instead of zero', sum(amount_minor)) as fault
from ledger_entries group by currency having sum(amount_minor) <> 0
union all
select order_id::text, format('posting %s %s sums to %s %s instead of zero', posting, number, sum(amount_minor), currency)
from ledger_entries group by order_id, posting, number, currency having sum(amount_minor) <> 0
order by about
