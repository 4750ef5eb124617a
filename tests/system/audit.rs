//! The auditor must be able to fail: each corruption here is injected into a copy of a database, and breaks the rules
//! that it names, and no other.

mod corruptions;
mod outside;

use crate::auditing::audit_now;
use crate::shop::Shop;
use audit::Audit;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use system::Service;

use self::corruptions::{CORRUPTIONS, Corruption};

/// No trigger and no foreign key refuses a corruption; `min(uuid)` is missing before Postgres 18.
const PREPARE: &str = "
    set session_replication_role = replica;
    create function pg_temp.smaller(uuid, uuid) returns uuid language sql immutable as 'select least($1, $2)';
    create aggregate min(uuid) (sfunc = pg_temp.smaller, stype = uuid)";

/// A shop at rest, its services stopped, whose databases can be copied; and orders that ended in every way.
struct Stage {
    shop: Shop,
}

impl Stage {
    async fn set() -> Self {
        let mut shop = Shop::open().await;
        shop.stock("BEANS", 20).await;
        for (sku, quantity, method, status) in [
            ("BEANS", 2, "pm_card_visa", "completed"),
            ("BEANS", 1, "pm_card_visa", "completed"),
            ("BEANS", 1, "pm_card_declined", "cancelled"),
            ("BEANS", 1, "pm_capture_fails", "cancelled"),
            ("BEANS", 50, "pm_card_visa", "cancelled"),
        ] {
            let id = shop.place(sku, quantity, method).await;
            shop.order_is(&id, status).await;
        }
        shop.check().await;
        for service in Service::ALL {
            shop.stop(*service).await;
        }
        Self { shop }
    }

    /// What the auditor finds when one database is a corrupted copy.
    async fn audit_with(&self, corruption: &Corruption) -> Audit {
        let world = &self.shop.world;
        let original = format!("{}_{}", world.name, corruption.service);
        let copy = format!("{original}_copy");
        let server = world.admin_database_url(corruption.service.as_str()).await;
        let mut admin =
            PgConnection::connect(&server.replace(&original, "postgres")).await.expect("Postgres");
        let create = AssertSqlSafe(format!(r#"create database "{copy}" template "{original}""#));
        sqlx::query(create).execute(&mut admin).await.expect("a copy");

        let mut conn = PgConnection::connect(&server.replace(&original, &copy)).await.expect("the copy");
        sqlx::raw_sql(PREPARE).execute(&mut conn).await.expect("prepared");
        sqlx::raw_sql(corruption.sql)
            .execute(&mut conn)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", corruption.fault));
        conn.close().await.expect("closed");

        let mut sources = self.shop.sources();
        for (service, url) in &mut sources.databases {
            if *service == corruption.service {
                *url = url.replace(&original, &copy);
            }
        }
        let audit = audit_now(&sources).await;
        let drop = AssertSqlSafe(format!(r#"drop database "{copy}" with (force)"#));
        sqlx::query(drop).execute(&mut admin).await.expect("dropped");
        audit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_corruption_breaks_its_rules_and_no_other() {
    let stage = Stage::set().await;
    let mut wrong = Vec::new();
    for corruption in CORRUPTIONS {
        let audit = stage.audit_with(corruption).await;
        let broken: Vec<_> = audit.broken().collect();
        if broken != corruption.breaks {
            wrong.push(format!("{}: breaks {broken:#?}, not {:#?}", corruption.fault, corruption.breaks));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_is_broken_by_some_corruption() {
    let breakable = CORRUPTIONS.iter().flat_map(|corruption| corruption.breaks).chain(outside::BREAKS);
    let breakable: Vec<_> = breakable.collect();
    let unbroken = audit::rules::RULES.iter().filter(|rule| !breakable.contains(&&rule.name));
    let unbroken: Vec<_> = unbroken.map(|rule| rule.name).collect();
    assert!(unbroken.is_empty(), "never seen broken: {unbroken:?}");
}
