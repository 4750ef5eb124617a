with fact as (
    select case
            when cancelled_at is not null then 'cancelled'
            when completed_at is not null then 'completed'
            when confirmed_at is not null then 'confirmed'
            else 'pending'
        end as status,
        cancel_reason, count(*) as orders
    from orders group by 1, 2
), counted as (
    select status, cancel_reason, orders from order_counts where orders <> 0
), both_sides as (
    select coalesce(fact.status, counted.status) as status, coalesce(fact.cancel_reason, counted.cancel_reason) as reason,
        coalesce(fact.orders, 0) as facts, coalesce(counted.orders, 0) as counts
    from fact full join counted
        on fact.status = counted.status and fact.cancel_reason is not distinct from counted.cancel_reason
)
select concat_ws(' ', status, reason) as about, format('%s counted, %s there', counts, facts) as fault
from both_sides where facts <> counts
order by about
