//! No statement costs more the more history there is: whatever it reads of a table that grows, it finds by an index.

use std::fs;
use std::path::Path;

use runtime::config::DatabaseConfig;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use system::Service;
use testkit::World;
use testkit::world::Servers;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Tables that hold a few rows, only what still waits, or what a person did, however much was sold.
const BOUNDED: [&str; 12] = [
    "dead_letter_actions",
    "demo_catalogue",
    "failed_messages",
    "job_actions",
    "jobs",
    "leases",
    "message_flow",
    "order_counts",
    "outbox",
    "revenue",
    "stream_offsets",
    "totals",
];
/// Indexes of a table that grows which hold only what still waits.
const OF_WHAT_WAITS: [&str; 1] = ["orders_pending_deadline"];

/// A database with the schema of one service, whose plans are made as its own sessions make them.
async fn session(world: &World, service: Service) -> PgConnection {
    let config =
        DatabaseConfig { url: world.database_url(service.as_str()).await.into(), max_connections: 1 };
    let pool = runtime::database::pool(&config, "plans").expect("a pool");
    let mut conn = pool.acquire().await.expect("Postgres answers").detach();
    for folder in ["messaging", "http-api", service.as_str()] {
        let folder = format!("{ROOT}/migrations/{folder}");
        let mut files: Vec<_> =
            fs::read_dir(folder).expect("migrations").map(|file| file.expect("a file").path()).collect();
        files.sort();
        for file in files {
            let sql = fs::read_to_string(file).expect("readable");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.expect("migrated");
        }
    }
    // Without the values, as a statement is planned that is often used.
    sqlx::raw_sql("set plan_cache_mode = force_generic_plan").execute(&mut conn).await.expect("set");
    conn
}

/// How the database would carry the statement out; none when it is not one of this service's.
async fn plan(conn: &mut PgConnection, query: &str, parameters: usize) -> Option<Value> {
    let prepare = AssertSqlSafe(format!("prepare statement as {query}"));
    sqlx::raw_sql(prepare).execute(&mut *conn).await.ok()?;
    let nulls = vec!["null"; parameters].join(", ");
    let arguments = if parameters == 0 { String::new() } else { format!("({nulls})") };
    let explain = AssertSqlSafe(format!("explain (format json) execute statement{arguments}"));
    let plan: Value = sqlx::query_scalar(explain).fetch_one(&mut *conn).await.expect("a plan");
    sqlx::raw_sql("deallocate statement").execute(conn).await.expect("deallocated");
    Some(plan[0]["Plan"].clone())
}

/// Puts down what of that which the plan reads grows with history.
fn what_grows(node: &Value, limited: bool, grows: &mut Vec<String>) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    // An index that is walked in its own order is left after so many rows; what sorts or counts sees all of them.
    let limited = match kind {
        "Limit" => true,
        "Sort" | "Aggregate" | "Hash" | "Materialize" => false,
        _ => limited,
    };
    if let Some(table) = node["Relation Name"].as_str() {
        let by = node["Index Name"].as_str().unwrap_or(kind);
        let sought = kind == "ModifyTable" || is_sought(node);
        let bounded = BOUNDED.contains(&table) || OF_WHAT_WAITS.contains(&by);
        // What a filter throws away does not count for the limit: in the end it may be everything.
        let filtered = limited && node.get("Filter").is_some();
        if !bounded && (filtered || !sought && !limited) {
            grows.push(format!("{table} ({by})"));
        }
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        what_grows(child, limited, grows);
    }
}

/// Whether it is found by an index, and not by a look at all of it.
fn is_sought(node: &Value) -> bool {
    let mut bitmaps = node["Plans"].as_array().into_iter().flatten();
    node.get("Index Cond").is_some()
        || node["Node Type"].as_str().is_some_and(|kind| kind.starts_with("Bitmap")) && bitmaps.any(is_sought)
}

#[tokio::test]
async fn no_statement_slows_down_with_history() {
    let world = World::bare(Servers::shared()).await;
    let mut sessions = Vec::new();
    for service in Service::ALL.iter().copied() {
        sessions.push((service, session(&world, service).await));
    }
    let mut wrong = Vec::new();
    for file in fs::read_dir(Path::new(ROOT).join(".sqlx")).expect("queries") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("readable");
        let kept: Value = serde_json::from_str(&text).expect("JSON");
        let query = kept["query"].as_str().expect("a query");
        let parameters = kept["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
        let mut planned = 0;
        for (service, conn) in &mut sessions {
            let Some(plan) = plan(conn, query, parameters).await else { continue };
            planned += 1;
            let mut grows = Vec::new();
            what_grows(&plan, false, &mut grows);
            if !grows.is_empty() {
                let words: Vec<&str> = query.split_whitespace().collect();
                wrong.push(format!("{service}: {} reads all of {}", words.join(" "), grows.join(", ")));
            }
        }
        assert!(planned > 0, "no service has the tables of: {query}");
    }
    assert!(wrong.is_empty(), "give each an index, or a limit:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn filter_under_a_limit_is_found() {
    let world = World::bare(Servers::shared()).await;
    let mut conn = session(&world, Service::Order).await;
    for (rest, found) in [
        ("status = $1 order by placed_at desc, id desc limit 5", false),
        ("($1::text is null or status = $1) order by placed_at desc, id desc limit 5", true),
        ("customer_id = $1 and currency = $1 order by placed_at desc, id desc limit 5", true),
        ("status = $1", false),
    ] {
        let plan = plan(&mut conn, &format!("select id from orders where {rest}"), 1).await.expect(rest);
        let mut grows = Vec::new();
        what_grows(&plan, false, &mut grows);
        assert_eq!(!grows.is_empty(), found, "{rest}: {plan}");
    }
}
