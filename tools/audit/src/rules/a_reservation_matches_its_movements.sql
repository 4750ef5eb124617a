-- What each kind of movement says of an order, against the state and the lines of its reservation.
with moved as (
    select order_id, sku,
        coalesce(sum(reserved_delta) filter (where kind = 'reserved'), 0) as reserved,
        coalesce(sum(-on_hand_delta) filter (where kind = 'committed'), 0) as committed,
        coalesce(sum(-reserved_delta) filter (where kind = 'released'), 0) as released,
        coalesce(sum(on_hand_delta) filter (where kind = 'returned'), 0) as returned
    from stock_movements where order_id is not null group by order_id, sku
), line as (
    select order_id, status, item ->> 'sku' as sku, (item ->> 'quantity')::bigint as quantity
    from reservations, jsonb_array_elements(lines) as item
), both_sides as (
    select order_id, sku, coalesce(line.status, reservations.status) as status, coalesce(line.quantity, 0) as quantity,
        coalesce(moved.reserved, 0) as reserved, coalesce(moved.committed, 0) as committed,
        coalesce(moved.released, 0) as released, coalesce(moved.returned, 0) as returned
    from line full join moved using (order_id, sku) left join reservations using (order_id)
)
select order_id::text as about,
    format('%s: %s of %s, but moved: reserved %s, committed %s, released %s, returned %s',
        status, quantity, sku, reserved, committed, released, returned) as fault
from both_sides
where case status
    when 'reserved' then (reserved, committed, released, returned) <> (quantity, 0, 0, 0)
    when 'committed' then (reserved, committed, released, returned) <> (quantity, quantity, 0, 0)
    -- Released from what was reserved, or put back after it was committed.
    when 'released' then reserved <> released + committed or committed <> returned
    else true
end
order by order_id, sku
