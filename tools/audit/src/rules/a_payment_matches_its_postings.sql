-- The postings that each status rests on, all of the payment's whole amount.
with posted as (
    select order_id, array_agg(distinct posting order by posting) as postings, array_agg(distinct abs(amount_minor)) as amounts
    from ledger_entries group by order_id
), judged as (
    select order_id, status, amount_minor, coalesce(postings, '{}') as postings, coalesce(amounts, '{}') as amounts
    from payments left join posted using (order_id)
)
select order_id::text as about,
    format('%s of %s, but posted: %s of %s', status, coalesce(amount_minor::text, 'nothing'),
        coalesce(nullif(array_to_string(postings, ' and '), ''), 'nothing'), array_to_string(amounts, ' and ')) as fault
from judged
where amounts not in ('{}', array[amount_minor])
    or not case
        when status in ('placeholder', 'authorizing', 'declined') then postings = '{}'
        when status in ('authorized', 'capturing', 'capture_failed', 'voiding') then postings = '{authorized}'
        when status in ('captured', 'refunding') then postings = '{authorized,captured}'
        when status = 'voided' then postings in ('{}', '{authorized,voided}')
        when status = 'refunded' then postings = '{authorized,captured,refunded}'
        else false
    end
order by order_id
