insert into payments (order_id, payment_id, status, amount_minor, currency, method, authorization_id, version)
select id, pg_temp.past_id(at, number, 100), 'captured', 1000, 'EUR', 'pm_card_visa', 'auth-' || number, 4 from past;

insert into ledger_entries (order_id, posting, account, amount_minor, currency, at)
select id, posting, account, amount_minor, 'EUR', at
from past, (values
    ('authorized', 'customer', -1000),
    ('authorized', 'authorized_holds', 1000),
    ('captured', 'authorized_holds', -1000),
    ('captured', 'captured_funds', 1000)
) as entry (posting, account, amount_minor);

insert into messaging.inbox (event_id)
select pg_temp.past_id(at, number, version) from past, (values (1), (4)) as consumed (version);
