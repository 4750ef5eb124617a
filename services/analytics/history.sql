insert into orders (order_id, placed_at, confirmed_at, completed_at, captures, mails)
select id, at, at, at, '{"4": {"amount_minor": 1000, "currency": "EUR"}}', jsonb_build_object(id, true) from past;

insert into order_counts (status, orders) select 'completed', count(*) from past
on conflict (status, cancel_reason) do update set orders = order_counts.orders + excluded.orders;

insert into revenue (currency, captured_minor, refunded_minor) select 'EUR', count(*) * 1000, 0 from past
on conflict (currency) do update set captured_minor = revenue.captured_minor + excluded.captured_minor;

update totals set mails_sent = mails_sent + (select count(*) from past), events = events + (select count(*) * 8 from past);

insert into messaging.inbox (event_id)
select pg_temp.past_id(at, number, version) from past, generate_series(1, 8) as consumed (version);
