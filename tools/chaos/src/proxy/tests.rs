#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

const PATIENCE: Duration = Duration::from_millis(200);

/// A server that says everything back, and a client of it on the other side of a proxy.
struct Echo {
    proxy: Proxy,
    client: TcpStream,
    _server: JoinSet<()>,
}

impl Echo {
    async fn new() -> Self {
        let listener = TcpListener::bind(devstack::local_address(0)).await.unwrap();
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

    async fn says(&mut self, text: &[u8]) {
        self.client.write_all(text).await.unwrap();
    }

    async fn hears(&mut self, text: &[u8]) {
        let mut heard = vec![0; text.len()];
        self.client.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, text);
    }

    async fn hears_nothing(&mut self) {
        let mut heard = [0; 1];
        let read = tokio::time::timeout(PATIENCE, self.client.read(&mut heard)).await;
        assert!(read.is_err(), "heard something, or the end: {read:?}");
    }

    async fn is_cut(&mut self) -> bool {
        !matches!(self.client.read(&mut [0; 1]).await, Ok(1..))
    }
}

#[tokio::test]
async fn what_both_sides_say_goes_through() {
    let mut echo = Echo::new().await;
    echo.says(b"hello").await;
    echo.hears(b"hello").await;
}

#[tokio::test]
async fn a_cut_ends_connections_and_lets_none_in_until_it_is_over() {
    let mut echo = Echo::new().await;
    echo.says(b"hello").await;
    echo.hears(b"hello").await;
    echo.proxy.set(Some(Trouble::Cut));
    assert!(echo.is_cut().await);
    echo.client = TcpStream::connect(echo.proxy.address()).await.unwrap();
    assert!(echo.is_cut().await);
    echo.proxy.set(None);
    echo.client = TcpStream::connect(echo.proxy.address()).await.unwrap();
    echo.says(b"again").await;
    echo.hears(b"again").await;
}

#[tokio::test]
async fn what_falls_silent_says_nothing_and_goes_on_where_it_was() {
    for trouble in [Trouble::Blackhole, Trouble::OneWay] {
        let mut echo = Echo::new().await;
        echo.proxy.set(Some(trouble));
        echo.says(b"hello").await;
        echo.hears_nothing().await;
        echo.proxy.set(None);
        echo.hears(b"hello").await;
    }
}

#[tokio::test]
async fn one_way_what_the_client_says_arrives() {
    let listener = TcpListener::bind(devstack::local_address(0)).await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap()).await.unwrap();
    proxy.set(Some(Trouble::OneWay));
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut heard = [0; 5];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn latency_and_slowness_take_their_time_and_keep_the_order() {
    let mut echo = Echo::new().await;
    echo.proxy.set(Some(Trouble::Latency(PATIENCE)));
    let begun = Instant::now();
    echo.says(b"one").await;
    echo.says(b"two").await;
    echo.hears(b"onetwo").await;
    assert!(begun.elapsed() >= PATIENCE * 2, "there and back");

    echo.proxy.set(Some(Trouble::Slow));
    let text = vec![b'x'; 10 * DROP];
    let begun = Instant::now();
    echo.says(&text).await;
    echo.hears(&text).await;
    assert!(begun.elapsed() >= DROP_INTERVAL * 10, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_answer_to_a_commit_is_lost_and_the_connection_with_it() {
    let mut echo = Echo::new().await;
    echo.proxy.set(Some(Trouble::CommitUnanswered));
    echo.says(b"C\0\0\0\x0bINSERT\0").await;
    echo.hears(b"C\0\0\0\x0bINSERT\0").await;
    echo.says(COMMITTED).await;
    assert!(echo.is_cut().await);
}
