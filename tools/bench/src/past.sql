-- The past orders, the same in every database: spread evenly over the last six days, as long as an inbox remembers.
-- Ids are UUIDv7 of their time (RFC 9562, section 5.7), with the number where others have chance.
create function pg_temp.past_id(at timestamptz, number bigint, what integer) returns uuid language sql immutable as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
        || '7' || lpad(to_hex(what), 3, '0')
        || '8' || substr(md5(number::text), 1, 15))::uuid
$$;

create temp view past as
select number, at, pg_temp.past_id(at, number, 0) as id, 'BENCH-' || number % 10 as sku
from (
    select number,
        current_setting('bench.now')::timestamptz - interval '6 days'
            + number * (interval '6 days' / current_setting('bench.orders')::bigint) as at
    from generate_series(0, current_setting('bench.orders')::bigint - 1) as number
) as placed;
