-- One login role and one database per service; each role owns its own database and can open no other. One role
-- more reads them all.
-- Run once, by psql, on a fresh cluster: by the postgres image from /docker-entrypoint-initdb.d, and by crates/stack.
--
-- These are development passwords: each equals its role's name. Set your own before anything but your machine can connect.

create role "order"      login password 'order';
create role payment      login password 'payment';
create role inventory    login password 'inventory';
create role notification login password 'notification';
create role analytics    login password 'analytics';

-- Reads what the services keep and writes nothing: for `sagactl audit` and `sagactl doctor`. Not by pg_read_all_data, which
-- opens pg_authid, too, with the hashes of all passwords. Every database made from template1 has these defaults: those
-- below, and the tests'.
create role auditor login password 'auditor';
alter role auditor set default_transaction_read_only = on;
\connect template1
alter default privileges for role "order", payment, inventory, notification, analytics
    grant usage on schemas to auditor;
alter default privileges for role "order", payment, inventory, notification, analytics
    grant select on tables to auditor;
\connect postgres

-- "order" is a reserved word of SQL: hence the quotes.
create database "order"      owner "order";
create database payment      owner payment;
create database inventory    owner inventory;
create database notification owner notification;
create database analytics    owner analytics;

-- Every role may connect to every database, and make temporary tables there, unless it is told otherwise; an owner keeps
-- its rights.
revoke connect, temporary on database "order", payment, inventory, notification, analytics from public;
grant connect on database "order", payment, inventory, notification, analytics to auditor;
revoke connect, temporary on database postgres, template1 from public;
