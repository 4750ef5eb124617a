//! How many connections are open at once, and how long one may say nothing.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    middleware::AddExtension,
    serve::{IncomingStream, Listener},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_io_timeout::TimeoutStream;
use tower::{Layer, Service, service_fn};

/// Most open connections. More wait in the system's queue for one to be closed.
pub(super) const OPEN: usize = 4_096;

/// Files beside the connections: those to database and broker, and some for everything else.
const OTHER_FILES: u64 = 256;

/// Makes the service of each connection from `app`, for `open` connections at once.
pub(super) fn limit(
    app: Router,
    open: usize,
) -> impl for<'a> Service<IncomingStream<'a, Patient>, Response = Placed, Error = Infallible, Future: Send> + Send
{
    let free = Arc::new(Semaphore::new(open));
    service_fn(move |_: IncomingStream<'_, Patient>| {
        let (app, free) = (app.clone(), free.clone());
        // Nobody closes the semaphore.
        async move { Ok(Extension(Arc::new(free.acquire_owned().await.ok())).layer(app)) }
    })
}

/// What serves one connection. Its place is free again when the last clone is gone.
type Placed = AddExtension<Router, Arc<Option<OwnedSemaphorePermit>>>;

/// Lets the process have as many files open as it may have connections, where the system's hard limit allows it: the
/// limit that most shells and containers start with, 1,024, is for programs that use `select`.
pub(super) fn allow_files() {
    let wanted = u64::try_from(OPEN).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let limit = getrlimit(Resource::Nofile);
    let Some(now) = limit.current.filter(|now| *now < wanted) else { return };
    let allowed = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if allowed < wanted {
        tracing::warn!(allowed, wanted, "few files may be open: raise the hard limit (ulimit -Hn)");
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), ..limit }) {
        tracing::warn!(now, wanted, %error, "the limit of open files stays as it is");
    }
}

/// A listener whose connections are closed when nothing comes from the client, or nothing is taken by it, for too long.
pub(super) struct Patient {
    listener: TcpListener,
    patience: Duration,
}

impl Patient {
    pub(super) fn new(listener: TcpListener, patience: Duration) -> Self {
        Self { listener, patience }
    }
}

impl Listener for Patient {
    type Io = Pin<Box<TimeoutStream<TcpStream>>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, client) = Listener::accept(&mut self.listener).await;
        // Answers are written in one piece: nothing is gained by waiting for more.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%client, %error, "TCP_NODELAY stays off");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(self.patience));
        stream.set_write_timeout(Some(self.patience));
        (Box::pin(stream), client)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);
    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: it\r\n\r\n";

    /// Runs `clients`, who are told the address, against a server.
    async fn with_server(open: usize, patience: Duration, clients: impl AsyncFnOnce(SocketAddr)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().route("/", get(|| async { "here" }));
        let server = axum::serve(Patient::new(listener, patience), limit(app, open));
        tokio::select! {
            _ = server.into_future() => unreachable!("it serves for good"),
            done = timeout(DEADLINE, clients(address)) => done.expect("it does not take for ever"),
        }
    }

    async fn ask(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(ASK).await.expect("asks");
        client
    }

    async fn answer(client: &mut TcpStream) -> String {
        let mut bytes = vec![0; 1_024];
        let count = client.read(&mut bytes).await.expect("an answer");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[tokio::test]
    async fn one_more_than_may_be_open_waits_until_another_is_closed() {
        with_server(1, Duration::from_secs(60), async |address| {
            let (mut first, mut second) = (ask(address).await, ask(address).await);
            for _ in 0..200 {
                assert!(answer(&mut first).await.ends_with("here"));
                first.write_all(ASK).await.expect("asks again");
            }
            let early = second.try_read(&mut [0; 1]).expect_err("nothing yet");
            assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
            drop(first);
            assert!(answer(&mut second).await.ends_with("here"));
        })
        .await;
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_hung_up_on() {
        with_server(2, Duration::from_millis(50), async |address| {
            let mut silent = TcpStream::connect(address).await.expect("connects");
            let mut half = TcpStream::connect(address).await.expect("connects");
            half.write_all(&ASK[..10]).await.expect("begins to ask");
            assert_eq!(answer(&mut silent).await, "");
            assert_eq!(answer(&mut half).await, "", "half a request gets no answer");
        })
        .await;
    }

    #[test]
    fn as_many_files_may_be_open_as_connections() {
        allow_files();
        let limit = getrlimit(Resource::Nofile);
        let enough =
            |files: u64| files >= u64::try_from(OPEN).expect("a number") || Some(files) == limit.maximum;
        assert!(limit.current.is_none_or(enough), "{limit:?}");
    }
}
