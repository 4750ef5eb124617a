-- Written by `sagactl generate` from the table of services. Run by psql on a fresh cluster: by the postgres image from
-- /docker-entrypoint-initdb.d, and by crates/devstack. `sagactl database apply` does the same in a cluster that is in use.
--
-- One login role and one database per service; each role owns its own database and can open no other. One role more,
-- auditor, reads them all and writes nothing: for `sagactl audit` and `sagactl doctor`. Not by pg_read_all_data, which
-- opens pg_authid, too, with the hashes of all passwords.
--
-- These are development passwords: each equals its role's name. Set your own before anything but your machine can connect.

\connect "postgres"
do $$ begin create role "order" login password 'order'; exception when duplicate_object then null; end $$;
do $$ begin create role "payment" login password 'payment'; exception when duplicate_object then null; end $$;
do $$ begin create role "inventory" login password 'inventory'; exception when duplicate_object then null; end $$;
do $$ begin create role "notification" login password 'notification'; exception when duplicate_object then null; end $$;
do $$ begin create role "analytics" login password 'analytics'; exception when duplicate_object then null; end $$;
do $$ begin create role "auditor" login password 'auditor'; exception when duplicate_object then null; end $$;
alter role auditor set default_transaction_read_only = on;

\connect "template1"
alter default privileges for role "order" grant usage on schemas to auditor;
alter default privileges for role "order" grant select on tables to auditor;
alter default privileges for role "payment" grant usage on schemas to auditor;
alter default privileges for role "payment" grant select on tables to auditor;
alter default privileges for role "inventory" grant usage on schemas to auditor;
alter default privileges for role "inventory" grant select on tables to auditor;
alter default privileges for role "notification" grant usage on schemas to auditor;
alter default privileges for role "notification" grant select on tables to auditor;
alter default privileges for role "analytics" grant usage on schemas to auditor;
alter default privileges for role "analytics" grant select on tables to auditor;

select 'create database "order" owner "order"'
    where not exists (select from pg_database where datname = 'order') \gexec

\connect "order"
alter default privileges for role "order" grant usage on schemas to auditor;
alter default privileges for role "order" grant select on tables to auditor;
revoke connect, temporary on database "order" from public;
grant connect on database "order" to auditor;
do $$ declare name text; begin
    for name in select nspname from pg_namespace where nspname = 'public' or nspowner = '"order"'::regrole loop
        execute format('grant usage on schema %I to auditor', name);
        execute format('grant select on all tables in schema %I to auditor', name);
    end loop;
end $$;

select 'create database "payment" owner "payment"'
    where not exists (select from pg_database where datname = 'payment') \gexec

\connect "payment"
alter default privileges for role "payment" grant usage on schemas to auditor;
alter default privileges for role "payment" grant select on tables to auditor;
revoke connect, temporary on database "payment" from public;
grant connect on database "payment" to auditor;
do $$ declare name text; begin
    for name in select nspname from pg_namespace where nspname = 'public' or nspowner = '"payment"'::regrole loop
        execute format('grant usage on schema %I to auditor', name);
        execute format('grant select on all tables in schema %I to auditor', name);
    end loop;
end $$;

select 'create database "inventory" owner "inventory"'
    where not exists (select from pg_database where datname = 'inventory') \gexec

\connect "inventory"
alter default privileges for role "inventory" grant usage on schemas to auditor;
alter default privileges for role "inventory" grant select on tables to auditor;
revoke connect, temporary on database "inventory" from public;
grant connect on database "inventory" to auditor;
do $$ declare name text; begin
    for name in select nspname from pg_namespace where nspname = 'public' or nspowner = '"inventory"'::regrole loop
        execute format('grant usage on schema %I to auditor', name);
        execute format('grant select on all tables in schema %I to auditor', name);
    end loop;
end $$;

select 'create database "notification" owner "notification"'
    where not exists (select from pg_database where datname = 'notification') \gexec

\connect "notification"
alter default privileges for role "notification" grant usage on schemas to auditor;
alter default privileges for role "notification" grant select on tables to auditor;
revoke connect, temporary on database "notification" from public;
grant connect on database "notification" to auditor;
do $$ declare name text; begin
    for name in select nspname from pg_namespace where nspname = 'public' or nspowner = '"notification"'::regrole loop
        execute format('grant usage on schema %I to auditor', name);
        execute format('grant select on all tables in schema %I to auditor', name);
    end loop;
end $$;

select 'create database "analytics" owner "analytics"'
    where not exists (select from pg_database where datname = 'analytics') \gexec

\connect "analytics"
alter default privileges for role "analytics" grant usage on schemas to auditor;
alter default privileges for role "analytics" grant select on tables to auditor;
revoke connect, temporary on database "analytics" from public;
grant connect on database "analytics" to auditor;
do $$ declare name text; begin
    for name in select nspname from pg_namespace where nspname = 'public' or nspowner = '"analytics"'::regrole loop
        execute format('grant usage on schema %I to auditor', name);
        execute format('grant select on all tables in schema %I to auditor', name);
    end loop;
end $$;

\connect "postgres"
revoke connect, temporary on database postgres, template1 from public;
