-- Placed first; then confirmed; then completed or cancelled, never both, and neither before what leads to it.
with step as (
    select order_id,
        min(version) filter (where type = 'order.placed') as placed,
        min(version) filter (where type = 'order.confirmed') as confirmed,
        min(version) filter (where type = 'order.completed') as completed,
        min(version) filter (where type = 'order.cancelled') as cancelled
    from order_events where direction = 'published' group by order_id
)
select order_id::text as about,
    format('placed at version %s, confirmed at %s, completed at %s, cancelled at %s', coalesce(placed::text, '-'),
        coalesce(confirmed::text, '-'), coalesce(completed::text, '-'), coalesce(cancelled::text, '-')) as fault
from step
where placed is distinct from 1 or (completed is not null and cancelled is not null)
    or (completed is not null and (confirmed is null or completed < confirmed))
    or cancelled < confirmed
order by order_id
