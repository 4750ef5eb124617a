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

-- Reads everything and writes nothing: for `shop audit` and `shop doctor`.
create role auditor login password 'auditor';
grant pg_read_all_data to auditor;
alter role auditor set default_transaction_read_only = on;

-- "order" is a reserved word of SQL: hence the quotes.
create database "order"      owner "order";
create database payment      owner payment;
create database inventory    owner inventory;
create database notification owner notification;
create database analytics    owner analytics;

-- Every role may connect to every database unless it is told otherwise; an owner keeps its right.
revoke connect on database "order", payment, inventory, notification, analytics from public;
grant connect on database "order", payment, inventory, notification, analytics to auditor;
revoke connect on database postgres, template1 from public;
