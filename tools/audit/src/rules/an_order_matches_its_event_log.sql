-- A second opinion: what the events of the log say by themselves, without the service's own code.
with log as (
    select order_id, count(*) as facts, max(version) as newest,
        -- An event of the order's own happens once; others may, each with an aggregate version of its own.
        count(distinct (type, case direction when 'consumed' then aggregate_version end)) as kinds,
        array_agg(type) as types,
        max(data ->> 'reason') filter (where type = 'order.cancelled') as reason,
        max(data -> 'total' ->> 'amount_minor') filter (where type = 'order.placed') as total,
        coalesce(sum((data -> 'amount' ->> 'amount_minor')::bigint) filter (where type = 'payment.refunded'), 0)::bigint
            as refunded
    from order_events group by order_id
), told as (
    select order_id, facts, newest, kinds, reason, total::bigint as total, refunded,
        case
            when 'order.cancelled' = any(types) then 'cancelled'
            when 'order.completed' = any(types) then 'completed'
            when 'order.confirmed' = any(types) then 'confirmed'
            else 'pending'
        end as status,
        case
            when 'stock.released' = any(types) then 'released'
            when 'stock.rejected' = any(types) then 'rejected'
            when 'stock.reserved' = any(types) then 'reserved'
            else 'open'
        end as stock,
        case
            when refunded >= total::bigint and refunded > 0 then 'refunded'
            when refunded > 0 then 'captured'
            when 'payment.voided' = any(types) then 'voided'
            when 'payment.declined' = any(types) then 'declined'
            when 'payment.captured' = any(types) then 'captured'
            when 'payment.capture_failed' = any(types) then 'capture_failed'
            when 'payment.authorized' = any(types) then 'authorized'
            else 'open'
        end as payment
    from log
)
select id::text as about,
    case
        when told.order_id is null then 'has no log'
        when facts <> newest then format('its log has %s events up to version %s', facts, newest)
        when kinds <> facts then 'its log has an event twice'
        else format('the row says %s, the log %s',
            concat_ws(' ', orders.status, orders.reason, orders.stock, orders.payment, orders.version, orders.total_minor,
                orders.refunded_minor),
            concat_ws(' ', told.status, told.reason, told.stock, told.payment, told.newest, told.total, told.refunded))
    end as fault
from orders left join told on told.order_id = orders.id
where told.order_id is null or facts <> newest or kinds <> facts
    or (orders.status, orders.reason, orders.stock, orders.payment, orders.version, orders.total_minor,
            orders.refunded_minor)
        is distinct from (told.status, told.reason, told.stock, told.payment, told.newest, told.total, told.refunded)
order by id
