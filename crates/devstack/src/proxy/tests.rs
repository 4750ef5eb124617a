#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

const PATIENCE: Duration = Duration::from_millis(200);

/// A server that echoes, and a client of it on the other side of a proxy.
struct Echo {
    proxy: Proxy,
    client: TcpStream,
    _server: JoinSet<()>,
}

impl Echo {
    async fn new() -> Self {
        let listener = TcpListener::bind(ports::local(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                sessions.spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::before(address).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        Self { proxy, client, _server: server }
    }

    async fn sends(&mut self, text: &[u8]) {
        self.client.write_all(text).await.unwrap();
    }

    async fn receives(&mut self, text: &[u8]) {
        let mut received = vec![0; text.len()];
        self.client.read_exact(&mut received).await.unwrap();
        assert_eq!(received, text);
    }

    async fn receives_nothing(&mut self) {
        let mut received = [0; 1];
        let read = tokio::time::timeout(PATIENCE, self.client.read(&mut received)).await;
        assert!(read.is_err(), "received something, or the end: {read:?}");
    }

    async fn is_cut(&mut self) -> bool {
        !matches!(self.client.read(&mut [0; 1]).await, Ok(1..))
    }
}

#[tokio::test]
async fn a_sound_network_passes_both_directions() {
    let mut echo = Echo::new().await;
    echo.sends(b"hello").await;
    echo.receives(b"hello").await;
}

#[tokio::test]
async fn a_cut_ends_connections_and_refuses_new_ones() {
    let mut echo = Echo::new().await;
    echo.sends(b"hello").await;
    echo.receives(b"hello").await;
    echo.proxy.inject(NetworkFault::Cut);
    assert!(echo.is_cut().await);
    echo.client = TcpStream::connect(echo.proxy.address()).await.unwrap();
    assert!(echo.is_cut().await);
    echo.proxy.restore();
    echo.client = TcpStream::connect(echo.proxy.address()).await.unwrap();
    echo.sends(b"again").await;
    echo.receives(b"again").await;
}

#[tokio::test]
async fn what_was_silent_goes_on_where_it_was() {
    for fault in [NetworkFault::Blackhole, NetworkFault::OneWay] {
        let mut echo = Echo::new().await;
        echo.proxy.inject(fault);
        echo.sends(b"hello").await;
        echo.receives_nothing().await;
        echo.proxy.restore();
        echo.receives(b"hello").await;
    }
}

#[tokio::test]
async fn stale_connections_are_silent_and_new_ones_sound() {
    let mut echo = Echo::new().await;
    echo.sends(b"hello").await;
    echo.receives(b"hello").await;
    echo.proxy.inject(NetworkFault::StaleConnections);
    echo.sends(b"hello").await;
    echo.receives_nothing().await;
    echo.client = TcpStream::connect(echo.proxy.address()).await.unwrap();
    echo.sends(b"again").await;
    echo.receives(b"again").await;
}

#[tokio::test]
async fn one_way_passes_what_the_client_sends() {
    let listener = TcpListener::bind(ports::local(0)).await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap()).await.unwrap();
    proxy.inject(NetworkFault::OneWay);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut received = [0; 5];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
}

#[tokio::test]
async fn latency_and_slowness_keep_the_order() {
    let mut echo = Echo::new().await;
    echo.proxy.inject(NetworkFault::Latency(PATIENCE));
    let begun = Instant::now();
    echo.sends(b"one").await;
    echo.sends(b"two").await;
    echo.receives(b"onetwo").await;
    assert!(begun.elapsed() >= PATIENCE * 2, "there and back");

    echo.proxy.inject(NetworkFault::Slow);
    let text = vec![b'x'; 10 * SLOW_PACKET];
    let begun = Instant::now();
    echo.sends(&text).await;
    echo.receives(&text).await;
    assert!(begun.elapsed() >= SLOW_INTERVAL * 10, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_answer_to_a_commit_is_lost() {
    let mut echo = Echo::new().await;
    echo.proxy.inject(NetworkFault::CommitUnanswered);
    echo.sends(b"C\0\0\0\x0bINSERT\0").await;
    echo.receives(b"C\0\0\0\x0bINSERT\0").await;
    echo.sends(COMMITTED).await;
    assert!(echo.is_cut().await);
}
