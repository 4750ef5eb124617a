with moved as (
    select sku, sum(on_hand_delta)::bigint as on_hand, sum(reserved_delta)::bigint as reserved
    from stock_movements group by sku
)
select sku as about,
    format('%s on hand and %s reserved, but its movements sum to %s and %s',
        stock.on_hand, stock.reserved, coalesce(moved.on_hand, 0), coalesce(moved.reserved, 0)) as fault
from stock left join moved using (sku)
where (stock.on_hand, stock.reserved) <> (coalesce(moved.on_hand, 0), coalesce(moved.reserved, 0))
order by sku
