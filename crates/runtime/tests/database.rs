//! Waiting for an unavailable Postgres, and failing at once if it refuses: against a server that speaks just enough of
//! the protocol to refuse.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use runtime::{
    config::DatabaseConfig,
    database::{Wait, pool, wait_until_usable},
    health::Health,
};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);

fn pool_on(port: u16) -> PgPool {
    let url = format!("postgres://order:hush@127.0.0.1:{port}/order?sslmode=disable");
    pool(&DatabaseConfig { url: url.into(), max_connections: 2 }, "order").unwrap()
}

/// Answers a startup packet with an ErrorResponse (PostgreSQL, 54.7) and returns the packet.
async fn refuse(mut client: TcpStream, code: &str, message: &str) -> String {
    let mut startup = vec![0; client.read_i32().await.unwrap() as usize - 4];
    client.read_exact(&mut startup).await.unwrap();
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    client.write_u8(b'E').await.unwrap();
    client.write_i32(fields.len() as i32 + 4).await.unwrap();
    client.write_all(fields.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&startup).into_owned()
}

#[tokio::test]
async fn a_refusal_that_waiting_cannot_cure_is_one_clear_sentence() {
    for (code, message, advice) in [
        (
            "28P01",
            "password authentication failed for user \"order\"",
            "check user and password in DATABASE_URL",
        ),
        ("28000", "role \"order\" does not exist", "check user and password in DATABASE_URL"),
        ("3D000", "database \"order\" does not exist", "create it, or check DATABASE_URL"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, item) = (pool_on(listener.local_addr().unwrap().port()), Health::new().item("database"));
        let server = async { refuse(listener.accept().await.unwrap().0, code, message).await };
        let shutdown = CancellationToken::new();
        let (outcome, startup) = tokio::join!(wait_until_usable(&pool, &item, &shutdown), server);
        let expected = format!("the database refuses this service: {message} ({advice})");
        assert_eq!(format!("{:#}", outcome.unwrap_err()), expected);
        assert!(startup.contains("application_name\0order"), "{startup}");
        assert!(startup.contains("statement_timeout=10s"), "{startup}");
    }
}

#[tokio::test]
async fn a_server_that_starts_or_is_full_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool_on(listener.local_addr().unwrap().port());
    let health = Health::new();
    let (item, shutdown) = (health.item("database"), CancellationToken::new());
    let server = async {
        refuse(listener.accept().await.unwrap().0, "57P03", "the database system is starting up").await;
        let (client, _) = listener.accept().await.unwrap();
        let first = health.missing()["database"].clone();
        refuse(client, "53300", "sorry, too many clients already").await;
        let (client, _) = listener.accept().await.unwrap();
        let second = health.missing()["database"].clone();
        refuse(client, "3D000", "database \"order\" does not exist").await;
        (first, second)
    };
    let both = async { tokio::join!(wait_until_usable(&pool, &item, &shutdown), server) };
    let (outcome, reasons) = timeout(DEADLINE, both).await.unwrap();
    assert!(outcome.is_err());
    assert_eq!(reasons.0, "starting: the database system is starting up");
    assert_eq!(reasons.1, "full: sorry, too many clients already");
}

#[tokio::test]
async fn shutdown_ends_the_wait_for_an_unavailable_server() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let pool = pool_on(port);
    let health = Health::new();
    let (item, shutdown) = (health.item("database"), CancellationToken::new());
    let stop = async {
        while !health.missing()["database"].contains("refused") {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
    };
    let both = async { tokio::join!(wait_until_usable(&pool, &item, &shutdown), stop) };
    let (outcome, ()) = timeout(DEADLINE, both).await.unwrap();
    assert_eq!(outcome.unwrap(), Wait::Cancelled);
}
