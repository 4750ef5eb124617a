with given as (
    select key, (regexp_match(location, '^/api/v1/orders/([0-9a-f-]{36})$'))[1] as order_id
    from http_api.idempotency_keys where status is not null
)
select coalesce(order_id, key) as about,
    case
        when order_id is null then 'the key''s answer names no order'
        when count(*) over (partition by order_id) > 1 then format('the answer to %s keys', count(*) over (partition by order_id))
        else 'was answered, and is not there'
    end as fault
from given
where order_id is null
    or not exists (select from orders where orders.id = given.order_id::uuid)
    or order_id in (select order_id from given group by order_id having count(*) > 1)
order by about
