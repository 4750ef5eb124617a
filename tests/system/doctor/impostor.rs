//! Somebody who holds the port of a service, and gives everybody the same answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One who listens until it is dropped.
#[derive(Debug)]
pub(super) struct Impostor {
    /// Where.
    pub(super) url: String,
    _task: JoinSet<()>,
}

impl Impostor {
    /// Answers every request with 200, these header lines, and this body.
    pub(super) async fn start(headers: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.expect("a connection");
                // One read has the whole of a request that has no body.
                let _ = client.read(&mut [0; 4096]).await;
                let _ = client.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, _task: task }
    }
}
