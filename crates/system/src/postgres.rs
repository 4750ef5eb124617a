//! The roles, databases and rights that Postgres must hold, as SQL that makes what is missing and changes nothing else.

use amqp::permissions::AUDITOR_USER as AUDITOR;

use crate::Service;

/// One step towards it. Steps are carried out in their order, by a superuser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Statements, in that database. Done again they change nothing.
    Run { database: &'static str, sql: String },
    /// A database of that name, owned by the role of that name, where there is none yet. It cannot be created in a
    /// transaction, and there is no `create database if not exists`.
    Create { name: &'static str },
}

/// Every step, in order: roles, what they give each other, databases, who may connect.
pub fn steps() -> Vec<Step> {
    let services: Vec<_> = Service::with_database().map(Service::as_str).collect();
    let mut steps = vec![
        Step::Run { database: "postgres", sql: roles(&services) },
        // What is made from it has these defaults: the databases below, and those of the tests.
        Step::Run { database: "template1", sql: defaults(&services) },
    ];
    for name in services {
        steps.push(Step::Create { name });
        // Where the database was there before its role, or was made from another template.
        steps.push(Step::Run { database: name, sql: rights(name) });
    }
    steps.push(Step::Run {
        database: "postgres",
        sql: "revoke connect, temporary on database postgres, template1 from public;\n".to_owned(),
    });
    steps
}

fn roles(services: &[&str]) -> String {
    let login = |role: &str| {
        format!(
            "do $$ begin create role \"{role}\" login password '{role}'; \
             exception when duplicate_object then null; end $$;\n"
        )
    };
    let roles: String = services.iter().copied().chain([AUDITOR]).map(login).collect();
    roles + &format!("alter role {AUDITOR} set default_transaction_read_only = on;\n")
}

fn defaults(services: &[&str]) -> String {
    let of_role = |role: &&str| {
        format!(
            "alter default privileges for role \"{role}\" grant usage on schemas to {AUDITOR};\n\
             alter default privileges for role \"{role}\" grant select on tables to {AUDITOR};\n"
        )
    };
    services.iter().map(of_role).collect()
}

/// Every role may connect to every database, and make temporary tables there, unless it is told otherwise; an owner
/// keeps its rights.
fn rights(service: &str) -> String {
    format!(
        "{}revoke connect, temporary on database \"{service}\" from public;\n\
         grant connect on database \"{service}\" to {AUDITOR};\n\
         do $$ declare name text; begin\n\
         \x20   for name in select nspname from pg_namespace where nspname = 'public' or nspowner = '\"{service}\"'::regrole loop\n\
         \x20       execute format('grant usage on schema %I to {AUDITOR}', name);\n\
         \x20       execute format('grant select on all tables in schema %I to {AUDITOR}', name);\n\
         \x20   end loop;\n\
         end $$;\n",
        defaults(&[service])
    )
}

pub fn script() -> String {
    let mut text = String::from(HEADER);
    let mut connected = "";
    for step in steps() {
        match step {
            Step::Run { database, sql } => {
                if database != connected {
                    text += &format!("\n\\connect \"{database}\"\n");
                    connected = database;
                }
                text += &sql;
            }
            Step::Create { name } => {
                text += &format!(
                    "\nselect 'create database \"{name}\" owner \"{name}\"'\n    \
                     where not exists (select from pg_database where datname = '{name}') \\gexec\n"
                );
            }
        }
    }
    text
}

const HEADER: &str = "\
-- Written by `sagactl generate` from the table of services. Run by psql on a fresh cluster: by the postgres image from
-- /docker-entrypoint-initdb.d, and by crates/devstack. `sagactl database apply` does the same in a cluster that is in use.
--
-- One login role and one database per service; each role owns its own database and can open no other. One role more,
-- auditor, reads them all and writes nothing: for `sagactl audit` and `sagactl doctor`. Not by pg_read_all_data, which
-- opens pg_authid, too, with the hashes of all passwords.
--
-- These are development passwords: each equals its role's name. Set your own before anything but your machine can connect.
";
