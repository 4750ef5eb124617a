-- Who leads, by name: the relay, and the reader of the event stream. What is written as the leader depends on the token.
create table messaging.leases (
    name text primary key,
    -- Grows with every leader.
    token bigint not null,
    -- The session that acquired it. When that is gone, the lease is free.
    backend_pid integer not null,
    backend_start timestamptz not null,
    until timestamptz not null
) with (fillfactor = 50);
