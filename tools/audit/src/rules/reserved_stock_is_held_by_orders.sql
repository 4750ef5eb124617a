with held as (
    select line ->> 'sku' as sku, sum((line ->> 'quantity')::bigint)::bigint as reserved
    from reservations, jsonb_array_elements(lines) as line
    where status = 'reserved' group by 1
)
select sku as about,
    format('%s reserved, but open reservations hold %s', coalesce(stock.reserved, 0), coalesce(held.reserved, 0)) as fault
from stock full join held using (sku)
where coalesce(stock.reserved, 0) <> coalesce(held.reserved, 0)
order by sku
