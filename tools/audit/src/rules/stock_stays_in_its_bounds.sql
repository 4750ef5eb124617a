select sku as about, format('%s reserved of %s on hand', reserved, on_hand) as fault
from stock
where not (0 <= reserved and reserved <= on_hand)
order by sku
