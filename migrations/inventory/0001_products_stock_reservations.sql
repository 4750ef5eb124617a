-- SKUs compare byte by byte (collate "C"), so that the order rows are locked in is the same everywhere.

create table products (
    sku text collate "C" primary key
        constraint a_sku_is_1_to_64_of_upper_case_digits_and_dashes check (sku ~ '^[A-Z0-9-]{1,64}$'),
    name text not null constraint a_product_has_a_name check (name <> ''),
    price_minor bigint not null constraint a_price_is_above_zero check (price_minor > 0),
    currency text not null constraint a_currency_is_three_letters check (currency ~ '^[A-Z]{3}$'),
    -- Whether it is for sale. A product that was delisted keeps its version, its stock and its ledger.
    is_listed boolean not null default true,
    version bigint not null constraint a_product_version_counts_from_1 check (version >= 1)
);
-- For the list of what is for sale, however much was delisted.
create index products_for_sale on products (sku) where is_listed;

-- Apart from products: these rows change with every order, and stay small and on their page (HOT updates).
create table stock (
    sku text collate "C" primary key references products,
    on_hand bigint not null default 0,
    reserved bigint not null default 0,
    constraint reserved_is_between_zero_and_on_hand check (0 <= reserved and reserved <= on_hand)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What inventory has for an order. A placeholder is there to be locked; no transaction commits it as such.
create table reservations (
    order_id uuid primary key,
    status text not null default 'placeholder'
        constraint a_reservation_has_a_known_status
        check (status in ('placeholder', 'reserved', 'rejected', 'committed', 'released')),
    lines jsonb not null default '[]'
        constraint lines_are_a_list check (jsonb_typeof(lines) = 'array'),
    version bigint not null default 0
        constraint a_reservation_version_counts_its_changes check (version >= 0),
    constraint only_what_was_reserved_has_lines check (status not in ('placeholder', 'rejected') or lines = '[]'),
    constraint what_is_reserved_has_lines check (status not in ('reserved', 'committed') or lines <> '[]')
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

-- The ledger: the sums of its deltas are the stock.
create table stock_movements (
    id bigint generated always as identity primary key,
    sku text collate "C" not null references stock,
    kind text not null,
    order_id uuid references reservations,
    -- Counts the movements of one kind of an order's SKU: what comes back in parts is no repeat.
    number integer not null default 1 constraint number_counts_from_one check (number >= 1),
    on_hand_delta bigint not null,
    reserved_delta bigint not null,
    -- Why a person corrected the stock.
    reason text,
    recorded_at timestamptz not null default now(),
    constraint deltas_are_those_of_the_kind check (
        case kind
            when 'restocked' then on_hand_delta > 0 and reserved_delta = 0
            when 'adjusted' then on_hand_delta <> 0 and reserved_delta = 0
            when 'reserved' then on_hand_delta = 0 and reserved_delta > 0
            when 'committed' then on_hand_delta < 0 and reserved_delta = on_hand_delta
            when 'released' then on_hand_delta = 0 and reserved_delta < 0
            when 'returned' then on_hand_delta > 0 and reserved_delta = 0
            else false
        end
    ),
    constraint only_a_restock_or_an_adjustment_is_for_no_order
        check ((kind in ('restocked', 'adjusted')) = (order_id is null)),
    constraint an_adjustment_and_nothing_else_has_a_reason check ((kind = 'adjusted') = (reason is not null))
);

-- The second line of defence against a double reservation, commit or release.
create unique index a_movement_of_an_order_is_made_once on stock_movements (order_id, sku, kind, number)
    where order_id is not null;

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: correct a row by adding another', tg_table_name;
end
$$;

create trigger stock_movements_is_append_only
    before update or delete or truncate on stock_movements
    for each statement execute function refuse_change();

-- Its one row says that the demo catalogue was listed, so that two replicas starting at once list it once.
create table demo_catalogue (
    only_row boolean primary key default true constraint there_is_one_row check (only_row),
    listed_at timestamptz not null default now()
);
