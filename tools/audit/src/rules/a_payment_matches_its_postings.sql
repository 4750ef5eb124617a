-- The postings that each status rests on, and how much each kind of them moved. Refunds may be several, of a part each.
with moved as (
    select order_id, posting, sum(amount_minor) filter (where amount_minor > 0)::bigint as amount,
        max(number) as number
    from ledger_entries group by order_id, posting
), posted as (
    select order_id, array_agg(posting order by posting) as postings, jsonb_object_agg(posting, amount) as amounts,
        max(number) filter (where posting = 'refunded') as refunds
    from moved group by order_id
), judged as (
    select payments.order_id, status, amount_minor, captured_minor, refunded_minor,
        payments.refunds <> coalesce(posted.refunds, 0) as miscounted, coalesce(postings, '{}') as postings,
        (amounts ->> 'authorized')::bigint as authorized, (amounts ->> 'voided')::bigint as voided,
        (amounts ->> 'captured')::bigint as captured, (amounts ->> 'refunded')::bigint as refunded
    from payments left join posted using (order_id)
)
select order_id::text as about,
    format('%s of %s (captured %s, refunded %s), but posted: %s (authorized %s, captured %s, voided %s, refunded %s)', status,
        coalesce(amount_minor::text, 'nothing'), captured_minor, refunded_minor, coalesce(nullif(array_to_string(postings, ' and '), ''), 'nothing'),
        coalesce(authorized, 0), coalesce(captured, 0), coalesce(voided, 0), coalesce(refunded, 0)) as fault
from judged
where authorized <> amount_minor or voided <> amount_minor or miscounted
    or (captured_minor, refunded_minor) <> (coalesce(captured, 0), coalesce(refunded, 0))
    or not case
        when status in ('placeholder', 'authorizing', 'declined') then postings = '{}'
        when status in ('authorized', 'capturing', 'capture_failed', 'voiding') then postings = '{authorized}'
        when status in ('captured', 'refunding') then postings in ('{authorized,captured}', '{authorized,captured,refunded}')
        when status = 'voided' then postings in ('{}', '{authorized,voided}')
        when status = 'refunded' then postings = '{authorized,captured,refunded}'
        else false
    end
order by order_id
