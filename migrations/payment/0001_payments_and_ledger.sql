-- One payment per order, and the double-entry ledger of what moved.

create table payments (
    order_id uuid primary key,
    payment_id uuid not null constraint payment_ids_are_unique unique,
    status text not null default 'placeholder' constraint status_is_known check (
        status in (
            'placeholder', 'authorizing', 'authorized', 'declined', 'capturing', 'captured', 'capture_failed',
            'voiding', 'voided', 'refunding', 'refunded'
        )
    ),
    -- The order was cancelled while a call was under way: what to undo is known when the call ends.
    cancel_requested boolean not null default false constraint a_cancel_waits_only_for_a_call check (
        not cancel_requested or status in ('authorizing', 'capturing')
    ),
    amount_minor bigint constraint amount_is_not_negative check (amount_minor >= 0),
    currency text constraint currency_is_three_letters check (currency ~ '^[A-Z]{3}$'),
    method text,
    authorization_id text,
    reason text,
    -- How much of the amount was captured and given back; the number of refunds.
    captured_minor bigint not null default 0,
    refunded_minor bigint not null default 0,
    refunds integer not null default 0,
    version bigint not null default 0 constraint version_is_not_negative check (version >= 0),

    constraint terms_are_complete_or_absent check (num_nulls(amount_minor, currency, method) in (0, 3)),
    -- A voided payment without terms is a tombstone: the cancel overtook the order.
    constraint terms_are_known_once_placed check (status in ('placeholder', 'voided') or amount_minor is not null),
    constraint captured_is_within_the_amount check (captured_minor between 0 and coalesce(amount_minor, 0)),
    constraint refunded_is_within_the_captured check (refunded_minor between 0 and captured_minor),
    constraint refunds_have_an_amount check (refunds >= 0 and (refunds = 0) = (refunded_minor = 0)),
    constraint what_is_refunded_is_all_given_back check ((status = 'refunded') = (refunds > 0 and refunded_minor = captured_minor)),
    constraint a_hold_names_its_authorization check (
        status in ('placeholder', 'authorizing', 'declined', 'voided') or authorization_id is not null
    )
);

-- For lists by status: newest first, as order ids grow with time.
create index payments_by_status on payments (status, order_id);

create table ledger_entries (
    id bigint generated always as identity primary key,
    order_id uuid not null references payments (order_id),
    posting text not null constraint posting_is_known check (
        posting in ('authorized', 'captured', 'voided', 'refunded')
    ),
    -- Counts the postings of one kind of a payment: a second refund is no repeat of the first.
    number integer not null default 1 constraint number_counts_from_one check (number >= 1),
    account text not null constraint account_is_known check (
        account in ('customer', 'authorized_holds', 'captured_funds', 'refunds')
    ),
    -- Signed: what the account gains.
    amount_minor bigint not null,
    currency text not null constraint currency_is_three_letters check (currency ~ '^[A-Z]{3}$'),
    at timestamptz not null,

    -- However often an event is consumed, its money moves once. Also the index for reading an order's entries.
    constraint a_posting_is_made_once unique (order_id, posting, number, account)
);

create function refuse_unbalanced_postings() returns trigger language plpgsql as $$
declare
    unbalanced record;
begin
    select order_id, posting, number, currency, sum(amount_minor) as total
    into unbalanced
    from inserted
    group by order_id, posting, number, currency
    having sum(amount_minor) <> 0
    limit 1;

    if found then
        raise exception 'posting % of order % sums to % % instead of zero',
            unbalanced.posting, unbalanced.order_id, unbalanced.total, unbalanced.currency
            using errcode = 'check_violation', constraint = 'postings_sum_to_zero', table = 'ledger_entries';
    end if;
    return null;
end
$$;

create trigger postings_sum_to_zero
after insert on ledger_entries
referencing new table as inserted
for each statement execute function refuse_unbalanced_postings();

create function refuse_ledger_changes() returns trigger language plpgsql as $$
begin
    raise exception 'the ledger is only ever inserted into: correct it with another posting'
        using errcode = 'restrict_violation', constraint = 'ledger_is_append_only', table = 'ledger_entries';
end
$$;

create trigger ledger_is_append_only
before update or delete or truncate on ledger_entries
for each statement execute function refuse_ledger_changes();
