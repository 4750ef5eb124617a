insert into reservations (order_id, status, lines, version)
select id, 'committed', jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1)), 2 from past;

-- What was sold was on the shelves before.
update stock set on_hand = on_hand + sold.pieces
from (select sku, count(*) as pieces from past group by sku) as sold where stock.sku = sold.sku;

insert into stock_movements (sku, kind, on_hand_delta, reserved_delta)
select sku, 'restocked', count(*), 0 from past group by sku;

insert into stock_movements (sku, kind, order_id, on_hand_delta, reserved_delta, recorded_at)
select sku, kind, id, on_hand_delta, reserved_delta, at
from past, (values ('reserved', 0, 1), ('committed', -1, -1)) as movement (kind, on_hand_delta, reserved_delta);

update stock set on_hand = on_hand - sold.pieces
from (select sku, count(*) as pieces from past group by sku) as sold where stock.sku = sold.sku;

insert into messaging.inbox (event_id)
select pg_temp.past_id(at, number, version) from past, (values (1), (4)) as consumed (version);
