-- The postings that each status rests on, and how much each kind of them moved.
with moved as (
    select order_id, posting, sum(amount_minor) filter (where amount_minor > 0)::bigint as amount
    from ledger_entries group by order_id, posting
), posted as (
    select order_id, array_agg(posting order by posting) as postings, jsonb_object_agg(posting, amount) as amounts
    from moved group by order_id
), judged as (
    select payments.order_id, status, amount_minor, coalesce(postings, '{}') as postings,
        (amounts ->> 'authorized')::bigint as authorized, (amounts ->> 'voided')::bigint as voided,
        (amounts ->> 'captured')::bigint as captured, (amounts ->> 'refunded')::bigint as refunded
    from payments left join posted using (order_id)
)
select order_id::text as about,
    format('%s of %s, but posted: %s (authorized %s, captured %s, voided %s, refunded %s)', status,
        coalesce(amount_minor::text, 'nothing'), coalesce(nullif(array_to_string(postings, ' and '), ''), 'nothing'),
        coalesce(authorized, 0), coalesce(captured, 0), coalesce(voided, 0), coalesce(refunded, 0)) as fault
from judged
where authorized <> amount_minor or voided <> amount_minor or captured > amount_minor or refunded > captured
    or (captured is not null and (status = 'refunded') <> (coalesce(refunded, 0) = captured))
    or not case
        when status in ('placeholder', 'authorizing', 'declined') then postings = '{}'
        when status in ('authorized', 'capturing', 'capture_failed', 'voiding') then postings = '{authorized}'
        when status in ('captured', 'refunding') then postings in ('{authorized,captured}', '{authorized,captured,refunded}')
        when status = 'voided' then postings in ('{}', '{authorized,voided}')
        when status = 'refunded' then postings = '{authorized,captured,refunded}'
        else false
    end
order by order_id
